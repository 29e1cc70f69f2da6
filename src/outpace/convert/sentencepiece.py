"""Reading a sentencepiece model: the pieces of its protocol buffer, and whether a space goes before a text.

Source: the field numbers of google/sentencepiece (`sentencepiece_model.proto`) and the protocol buffers encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from outpace.convert.settings import MAX_BYTES
from outpace.errors import ModelFileError, UnsupportedError
from outpace.text.vocabulary import TokenType

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_UNIGRAM, _BPE = 1, 2
_KINDS: Final = {_UNIGRAM: "unigram", _BPE: "bpe", 3: "word", 4: "char"}


@dataclass(frozen=True, slots=True)
class Pieces:
    """What a model says.

    Attributes:
        pieces: Text, score and type of each token.
        adds_space: Whether a space goes before a text.
    """

    pieces: tuple[tuple[str, float, TokenType], ...]
    adds_space: bool


def read_sentencepiece(path: Path) -> Pieces:
    """Read a model.

    Raises:
        ModelFileError: It is cut short or no such file.
        UnsupportedError: It does not merge pairs of pieces.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ModelFileError(path, f"{path.stat().st_size} bytes; the limit is {MAX_BYTES}")
    pieces, adds_space, kind = [], True, _UNIGRAM
    try:
        for field, value in _fields(path.read_bytes()):
            if field == 1 and isinstance(value, bytes):
                pieces.append(_piece(value))
            elif field in (2, 3) and isinstance(value, bytes):
                numbers = {number: inner for number, inner in _fields(value) if isinstance(inner, int)}
                kind = numbers.get(3, kind) if field == 2 else kind
                adds_space = bool(numbers.get(3, adds_space)) if field == 3 else adds_space
    except (ValueError, struct.error) as error:
        raise ModelFileError(path, f"this is no sentencepiece model ({error})") from None
    if not pieces:
        raise ModelFileError(path, "this is no sentencepiece model (it has no pieces)")
    if kind != _BPE:
        raise UnsupportedError("a sentencepiece model of type", _KINDS.get(kind, str(kind)), (_KINDS[_BPE],))
    return Pieces(tuple(pieces), adds_space)


def _piece(raw: bytes) -> tuple[str, float, TokenType]:
    text, score, kind = "", 0.0, TokenType.NORMAL
    for field, value in _fields(raw):
        if field == 1 and isinstance(value, bytes):
            text = value.decode()
        elif field == 2 and isinstance(value, float):
            score = value
        elif field == 3 and isinstance(value, int):
            kind = TokenType(value)
    return text, score, kind


def _fields(raw: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Yield number and value of each field of a message; 32-bit fields are floats."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        field, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(raw, at)
            yield field, value
        elif kind == _BYTES:
            n, at = _varint(raw, at)
            if n > len(raw) - at:
                raise ValueError(f"a field of {n} bytes goes past the end")
            yield field, raw[at : at + n]
            at += n
        elif kind == _FIXED32:
            yield field, struct.unpack_from("<f", raw, at)[0]
            at += 4
        elif kind == _FIXED64:
            at += 8
        else:
            raise ValueError(f"a field has the type {kind}")


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(raw):
            raise ValueError("it ends inside a number")
        byte = raw[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number does not end")
