"""A file's metadata without the file: the same look-ups over a dictionary, and vocabularies small enough to read."""

from typing import Any

import numpy as np

from outpace.errors import ModelFileError

MISSING = object()
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


class ToyMetadata(dict[str, Any]):
    """Typed look-ups over a dictionary; types are trusted."""

    path = "toy.gguf"

    def _get(self, key, default=MISSING):
        if key not in self and default is MISSING:
            raise ModelFileError(self.path, "the key is missing", f"metadata '{key}'")
        return self.get(key, default)

    str = int = float = bool = strs = _get

    def ints(self, key, default=MISSING):
        found = self._get(key, default)
        return np.array(found, np.int32) if key in self else found

    def floats(self, key, default=MISSING):
        found = self._get(key, default)
        return np.array(found, np.float32) if key in self else found


def byte_letters() -> list[str]:
    """The GPT-2 alphabet, in the order of the bytes, by its published rule."""
    kept = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    other = [b for b in range(256) if b not in kept]
    return [chr(b) if b in kept else chr(256 + other.index(b)) for b in range(256)]


SPECIALS = {"<|im_start|>": CONTROL, "<|im_end|>": CONTROL, "<think>": USER_DEFINED, "[PAD7]": UNUSED}
MERGES = ("Ġ h", "l l", "e ll", "Ġh ell", "Ġhell o", "1 2", "12 3", "Ã ©", "ð Ł", "ðŁ İ", "Ċ Ċ", "Ġ Ġ")


def toy_gpt2(pre: str | None = "smollm", **more: Any) -> ToyMetadata:
    """All bytes, a dozen merges, and one special token of each kind."""
    tokens = [*byte_letters(), *(merge.replace(" ", "") for merge in MERGES), *SPECIALS]
    types = [NORMAL] * (len(tokens) - len(SPECIALS)) + list(SPECIALS.values())
    values = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": tuple(tokens),
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.bos_token_id": tokens.index("<|im_start|>"),
        "tokenizer.ggml.eos_token_id": tokens.index("<|im_end|>"),
    }
    if pre is not None:
        values["tokenizer.ggml.pre"] = pre
    return ToyMetadata(values, **{f"tokenizer.{key.replace('__', '.')}": value for key, value in more.items()})


def toy_sentencepiece(**more: Any) -> ToyMetadata:
    """Pieces with scores, all bytes as fallback."""
    pieces = ["▁", "h", "e", "l", "o", "w", "r", "d", "▁h", "ll", "ello", "lo", "▁hello", "▁w", "or", "▁wor", "ld"]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *pieces, "<tool>"]
    n_bytes = 3 + 256
    values = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tuple(tokens),
        "tokenizer.ggml.token_type": [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(pieces), USER_DEFINED],
        "tokenizer.ggml.scores": [0.0] * n_bytes + [-float(i) for i in range(len(pieces))] + [0.0],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
    return ToyMetadata(values, **{f"tokenizer.{key.replace('__', '.')}": value for key, value in more.items()})
