"""The tokens of a file: their texts, types, bytes, and which of them end an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from outpace.errors import ModelFileError

if TYPE_CHECKING:
    from outpace.gguf.metadata import Metadata

# Tokens that end a turn whatever the file calls them; the last three follow a finished fill-in-the-middle.
# Source: the models' published chat formats, collected by llama.cpp (`src/llama-vocab.cpp`).
END_OF_TURN: Final = (
    "<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|eot|>", "<|end|>", "<|end_of_text|>", "<|endoftext|>",
    "<|return|>", "<|call|>", "<|calls|>", "<|flush|>", "<end_of_turn>", "<turn|>", "<EOT>", "_<EOT>",
    "<end_of_utterance>", "<｜end▁of▁sentence｜>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>",  # noqa: RUF001
)  # fmt: skip


class TokenType(IntEnum):
    """What a token is for, as numbered in `tokenizer.ggml.token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


# Enumerations are slow to ask, and this one is asked for every token that is new to a text.
_NORMAL: Final = int(TokenType.NORMAL)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of a file.

    Attributes:
        texts: The token texts, by id, as they stand in the file.
        ids: Text to id.
        types: [V] `TokenType` numbers, a byte each (larger ones are no type that is known).
        is_byte_level: Whether texts are in the GPT-2 byte alphabet (else SentencePiece's).
        bos_id: Begin-of-sequence, where the file has one.
        eos_id: End-of-sequence, where the file has one.
        stop_ids: Tokens that end an answer.
    """

    texts: tuple[str, ...]
    ids: dict[str, int]
    types: bytes
    is_byte_level: bool
    bos_id: int | None
    eos_id: int | None
    stop_ids: frozenset[int]

    def ids_of(self, *types: TokenType) -> list[int]:
        """Return the ids of all tokens of the given types, ascending."""
        found: list[int] = np.flatnonzero(np.isin(np.frombuffer(self.types, np.uint8), types)).tolist()
        return found

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes a token stands for; none for an unused one."""
        text, kind = self.texts[token], self.types[token]
        if kind == _NORMAL and self.is_byte_level:
            try:
                return text.translate(_latin_1()).encode("latin-1")
            except UnicodeEncodeError:
                pass  # a letter that stands for no byte
        if kind == TokenType.UNUSED:
            return b""
        if kind in (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.USER_DEFINED):
            return text.encode()
        if self.is_byte_level:
            table = byte_of_letter()
            return b"".join([table.get(letter) or letter.encode() for letter in text])
        if kind == TokenType.BYTE:
            return bytes((int(text[3:5], 16),))
        return text.replace("▁", " ").encode()


@cache
def byte_of_letter() -> Mapping[str, bytes]:
    """Return GPT-2's printable alphabet for bytes: printable Latin-1 as itself, the rest counted up from U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    table = {chr(byte): bytes((byte,)) for byte in printable}
    table |= {chr(0x100 + i): bytes((byte,)) for i, byte in enumerate(b for b in range(256) if b not in printable)}
    return MappingProxyType(table)


@cache
def _latin_1() -> str:
    """Return for each letter of that alphabet its byte as Latin-1 has it, by code; for what is no letter, no byte."""
    table = byte_of_letter()
    return "".join([table[chr(code)].decode("latin-1") if chr(code) in table else "\uffff" for code in range(0x144)])


def read_vocabulary(metadata: Metadata, *, is_byte_level: bool) -> Vocabulary:
    """Read the tokens of a file and check that the parts fit together.

    Raises:
        ModelFileError: A list is missing, of another length than the tokens, or an id points outside them.
    """
    texts = metadata.strs("tokenizer.ggml.tokens")
    numbers = metadata.ints("tokenizer.ggml.token_type", None)
    types = np.full(len(texts), TokenType.NORMAL, np.int32) if numbers is None else numbers.astype(np.int32)
    check_length(metadata, "tokenizer.ggml.token_type", len(types), len(texts))
    ids = dict(zip(texts, range(len(texts)), strict=True))
    named = {kind: _special_id(metadata, kind, len(texts)) for kind in ("bos", "eos", "eot", "eom")}
    stops = {ids[text] for text in END_OF_TURN if text in ids}
    if {"<|return|>", "<|call|>", "<|end|>"} <= ids.keys() or {"<|flush|>", "<|calls|>", "<|end|>"} <= ids.keys():
        stops.discard(ids["<|end|>"])  # these formats end every channel with it, not the turn
    stops |= {token for kind, token in named.items() if kind != "bos" and token is not None}
    for token in stops:
        types[token] = TokenType.CONTROL  # some files have them as plain text; shown or merged, they would leak
    if not is_byte_level:
        _check_byte_tokens(texts, types)
    kinds = np.clip(types, 0, 255).astype(np.uint8).tobytes()
    return Vocabulary(texts, ids, kinds, is_byte_level, named["bos"], named["eos"], frozenset(stops))


def check_length(metadata: Metadata, key: str, found: int, expected: int) -> None:
    """Raise ModelFileError unless a list has one item for each token."""
    if found != expected:
        raise broken(metadata, key, f"has {found} items for {expected} tokens")


def broken(metadata: Metadata, key: str, problem: str) -> ModelFileError:
    """Return the error for a tokenizer key that makes no sense."""
    return ModelFileError(getattr(metadata, "path", "the model file"), problem, f"metadata '{key}'")


def _special_id(metadata: Metadata, kind: str, n_tokens: int) -> int | None:
    key = f"tokenizer.ggml.{kind}_token_id"
    token = metadata.int(key, None)
    if token is not None and not 0 <= token < n_tokens:
        raise broken(metadata, key, f"is {token}, outside the {n_tokens} tokens")
    return token


def _check_byte_tokens(texts: tuple[str, ...], types: NDArray[np.int32]) -> None:
    """Treat as plain text what is typed a byte but does not read `<0x00>` to `<0xFF>`."""
    known = {f"<0x{byte:02X}>" for byte in range(256)}
    for token in np.flatnonzero(types == TokenType.BYTE).tolist():
        if texts[token] not in known:
            types[token] = TokenType.NORMAL
