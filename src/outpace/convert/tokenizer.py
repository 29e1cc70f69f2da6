"""A folder's tokenizer as GGUF keys: tokens, merges or scores, special tokens, chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from outpace.convert.checkpoint import Checkpoint
from outpace.convert.pretokenizer import recognise
from outpace.convert.sentencepiece import read_sentencepiece
from outpace.convert.settings import read_json
from outpace.convert.templates import template_keys
from outpace.convert.vocabulary import Vocabulary
from outpace.errors import ModelFileError, UnsupportedError
from outpace.gguf.types import ValueType
from outpace.gguf.writer import Typed
from outpace.text.pretokenizers import find_pretokenizer
from outpace.text.vocabulary import END_OF_TURN, TokenType

# What a folder calls a special token -> what GGUF calls it.
_SPECIAL: Final = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
_NO_TOKENIZER: Final = "the folder has no tokenizer: the file takes token ids only"


def tokenizer_keys(checkpoint: Checkpoint, pre: str | None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a folder's tokenizer as keys, and what a person should know; no keys where it has none.

    Args:
        checkpoint: The folder.
        pre: The pre-tokenizer's name, where it is not to be recognised.

    Raises:
        ModelFileError: Its files are damaged or do not fit together.
        UnsupportedError: It is of a kind that we cannot run.
    """
    folder, n_vocab = checkpoint.folder, checkpoint.settings.count("vocab_size")
    described = read_json(folder / "tokenizer.json")
    if not described and (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        described = _from_old_files(folder)
    model = described.get("model") if described else None
    if model is not None and not isinstance(model, dict):
        raise ModelFileError(folder / "tokenizer.json", "is not a JSON object", "'model'")
    if (folder / "tokenizer.model").exists() and (not model or model.get("byte_fallback")):
        vocabulary, keys = _pieces(folder / "tokenizer.model")
    elif not model:
        return {}, (_NO_TOKENIZER,)
    elif model.get("type", "BPE") != "BPE":
        raise UnsupportedError("a tokenizer of type", f"{model.get('type')!s:.40}", ("BPE", "sentencepiece bpe"))
    elif model.get("byte_fallback"):
        vocabulary, keys = _ranked(folder / "tokenizer.json", described, model)
    else:
        vocabulary, keys = _byte_level(folder / "tokenizer.json", described, model, pre)
    is_spaced = keys["tokenizer.ggml.model"] == "llama"
    vocabulary.add_special(folder, is_spaced)
    keys |= vocabulary.keys(n_vocab, has_scores=is_spaced)
    return keys | _special_keys(checkpoint, vocabulary, described) | template_keys(folder), ()


def _byte_level(
    path: Path, described: dict[str, Any], model: dict[str, Any], pre: str | None
) -> tuple[Vocabulary, dict[str, Any]]:
    """Merging by rank over the letters of bytes."""
    name = recognise(path, described) if pre is None else find_pretokenizer(pre).name
    keys = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": name,
        "tokenizer.ggml.merges": Typed(ValueType.STRING, [" ".join(pair) for pair in _merges(path, model)]),
    }
    return _from_vocab(path, model), keys


def _ranked(path: Path, described: dict[str, Any], model: dict[str, Any]) -> tuple[Vocabulary, dict[str, Any]]:
    """Merging by rank over characters, as converted sentencepiece models have it: a piece's score is its best rank."""
    vocabulary = _from_vocab(path, model)
    best: dict[str, int] = {}
    for rank, (left, right) in enumerate(_merges(path, model)):
        best.setdefault(left + right, rank)
    for token, text in vocabulary.texts.items():
        is_byte = len(text) == 6 and text.startswith("<0x") and text.endswith(">")
        vocabulary.types[token] = TokenType.BYTE if is_byte else TokenType.NORMAL
        vocabulary.scores[token] = -float(best.get(text, len(best)))
    unknown = vocabulary.id_of(str(model.get("unk_token")))
    if unknown is not None:
        vocabulary.types[unknown] = TokenType.UNKNOWN
    steps = [*_steps(described.get("normalizer")), *_steps(described.get("pre_tokenizer"))]
    adds_space = any(
        step.get("type") == "Prepend"
        or (step.get("type") == "Metaspace" and step.get("prepend_scheme", "always") != "never")
        for step in steps
    )
    return vocabulary, {"tokenizer.ggml.model": "llama", "tokenizer.ggml.add_space_prefix": adds_space}


def _pieces(path: Path) -> tuple[Vocabulary, dict[str, Any]]:
    """Merging by score, from the sentencepiece model itself."""
    found, vocabulary = read_sentencepiece(path), Vocabulary(path)
    for token, (text, score, kind) in enumerate(found.pieces):
        vocabulary.add(token, text, kind, score)
    return vocabulary, {"tokenizer.ggml.model": "llama", "tokenizer.ggml.add_space_prefix": found.adds_space}


def _from_vocab(path: Path, model: dict[str, Any]) -> Vocabulary:
    texts, vocabulary = model.get("vocab"), Vocabulary(path)
    if not isinstance(texts, dict) or not texts:
        raise ModelFileError(path, "expected a JSON object of texts and ids", "'model.vocab'")
    for text, token in texts.items():
        vocabulary.add(token, text, TokenType.NORMAL)
    if len(vocabulary.texts) < len(texts):
        raise ModelFileError(path, "two texts have the same id", "'model.vocab'")
    return vocabulary


def _merges(path: Path, model: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the pairs that are merged, best first, from either way of writing them."""
    merges = model.get("merges")
    pairs = (
        [tuple(each.split(" ") if isinstance(each, str) else each if isinstance(each, list) else ()) for each in merges]
        if isinstance(merges, list)
        else []
    )
    if not isinstance(merges, list) or not all(
        len(pair) == 2 and all(isinstance(part, str) and part and " " not in part for part in pair) for pair in pairs
    ):
        raise ModelFileError(path, "expected a list of pairs of texts without spaces", "'model.merges'")
    return pairs


def _from_old_files(folder: Path) -> dict[str, Any]:
    """Return vocab.json and merges.txt in the form of a tokenizer.json, cut as GPT-2 does."""
    try:
        lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(folder / "merges.txt", f"cannot be read: {error}") from None
    merges = [line for line in lines if line and not line.startswith("#version")]
    model = {"type": "BPE", "vocab": read_json(folder / "vocab.json"), "merges": merges}
    cut = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    return {"model": model, "pre_tokenizer": cut}


def _special_keys(checkpoint: Checkpoint, vocabulary: Vocabulary, described: dict[str, Any]) -> dict[str, Any]:
    """Return the ids of special tokens, and whether a text begins and ends with them."""
    folder = checkpoint.folder
    config, more = read_json(folder / "tokenizer_config.json"), read_json(folder / "special_tokens_map.json")
    generation = read_json(folder / "generation_config.json")
    ids: dict[str, int] = {}
    for name, kind in _SPECIAL.items():
        named = [_text_of(config.get(f"{name}_token")), _text_of(more.get(f"{name}_token"))]
        token = next((found for text in named if text and (found := vocabulary.id_of(text)) is not None), None)
        for numbers in (checkpoint.settings.get(f"{name}_token_id"), generation.get(f"{name}_token_id")):
            first = numbers[0] if isinstance(numbers, list) and numbers else numbers
            token = first if token is None and type(first) is int and first in vocabulary.texts else token
        if token is not None:
            ids[kind] = token
    ends = generation.get("eos_token_id")
    others = [token for token in ends if token in vocabulary.texts] if isinstance(ends, list) else []
    others = [token for token in others if token != ids.get("eos")]
    # Those that end a turn by their name are known at run time; one that is not needs the key.
    others.sort(key=lambda token: vocabulary.texts[token] in END_OF_TURN)
    if others:
        ids["eot"] = others[0]
    keys: dict[str, Any] = {f"tokenizer.ggml.{kind}_token_id": token for kind, token in ids.items()}
    for name in ("bos", "eos"):
        adds = config.get(f"add_{name}_token")
        adds = (
            adds
            if isinstance(adds, bool)
            else _adds(described, vocabulary, ids.get(name), at=0 if name == "bos" else -1)
        )
        if adds is not None:
            keys[f"tokenizer.ggml.add_{name}_token"] = adds
    return keys


def _adds(described: dict[str, Any], vocabulary: Vocabulary, token: int | None, at: int) -> bool | None:
    """Return whether a text gets a token at its start (0) or end (-1), None where tokenizer.json does not say."""
    if "post_processor" not in described:
        return None
    for step in _steps(described["post_processor"]):
        single = step.get("single")
        if step.get("type") == "TemplateProcessing" and isinstance(single, list) and single:
            special = single[at].get("SpecialToken") if isinstance(single[at], dict) else None
            return isinstance(special, dict) and token is not None and vocabulary.texts[token] == special.get("id")
    return False


def _steps(described: Any) -> list[dict[str, Any]]:
    """Return the parts of a normaliser, pre-tokenizer or processor, which may be a sequence of them."""
    if not isinstance(described, dict):
        return []
    for name in ("normalizers", "pretokenizers", "processors"):
        if isinstance(described.get(name), list):
            return [inner for each in described[name] for inner in _steps(each)]
    return [described]


def _text_of(token: Any) -> str | None:
    """Return a special token's text, which a folder writes as a string or as an object."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None
