"""Reading safetensors files, every bound checked: names, types, shapes and places from the header, rows when asked.

Source: the format's description in huggingface/safetensors: a 64-bit length, a JSON header, then the data.
"""

from __future__ import annotations

import json
import mmap
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NoReturn

import numpy as np

from outpace.errors import ModelFileError, UnsupportedError, readable_bytes
from outpace.gguf.blocks import Floats
from outpace.gguf.cursor import shown
from outpace.gguf.file import AROUND_BYTES

MAX_HEADER_BYTES: Final = 100_000_000  # the limit of the format's own library
MAX_DIMS: Final = 8
_LENGTH = struct.Struct("<Q")

# Type -> bytes of an element, for all that the format knows and we can place; only some can be read as numbers.
ITEM_BYTES: Final = MappingProxyType(
    {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}
    | {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1}
)
READABLE: Final = MappingProxyType({"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"})


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor lies in its file, and as what.

    Attributes:
        dtype: Its type, as the format writes it.
        shape: Sizes, outermost first.
        start: Offset of its first byte.
        end: Offset after its last byte.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class SafetensorsFile:
    """An open file. It must not shrink while it is open: reading pages that are gone ends the process.

    Attributes:
        path: The file.
        tensors: Places by name, in the order of the header.
    """

    path: Path
    tensors: Mapping[str, Place] = field(repr=False)
    _map: mmap.mmap = field(repr=False)

    def rows(self, name: str) -> StoredRows:
        """Return a tensor, to be read.

        Raises:
            ModelFileError: It is empty.
            UnsupportedError: Its type is not one of numbers that can be converted.
        """
        place = self.tensors[name]
        if place.dtype not in READABLE:
            raise UnsupportedError(f"tensor '{name}' of type", place.dtype, sorted(READABLE))
        if not place.shape or 0 in place.shape:
            raise ModelFileError(self.path, f"has no rows (shape {list(place.shape)})", f"tensor '{shown(name)}'")
        return StoredRows(self, place)


@dataclass(frozen=True, eq=False)
class StoredRows:
    """A tensor of a safetensors file as `Rows`."""

    file: SafetensorsFile
    place: Place

    @property
    def shape(self) -> tuple[int, ...]:
        """See `Rows`."""
        return self.place.shape

    def read(self, start: int, stop: int) -> Floats:
        """See `Rows`."""
        place, n_columns = self.place, self.place.shape[-1]
        dtype = np.dtype(READABLE[place.dtype])
        at = place.start + start * n_columns * dtype.itemsize
        assert place.start <= at and at + (stop - start) * n_columns * dtype.itemsize <= place.end
        raw = np.frombuffer(self.file._map, dtype, (stop - start) * n_columns, at).reshape(-1, n_columns)
        if place.dtype == "BF16":
            return (raw.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(over="ignore"):  # a double may be too large; what is written is checked to be finite
            return raw.astype(np.float32)

    def release(self) -> None:
        """See `Rows`."""
        if hasattr(mmap, "MADV_DONTNEED"):
            start = max(self.place.start - AROUND_BYTES, 0) // mmap.PAGESIZE * mmap.PAGESIZE
            end = min(self.place.end + AROUND_BYTES, len(self.file._map))
            self.file._map.madvise(mmap.MADV_DONTNEED, start, end - start)


def open_safetensors(path: Path) -> SafetensorsFile:
    """Open a file and check its header.

    Raises:
        ModelFileError: The file is missing, cut short, or breaks the format; the message says where.
    """
    mapped = _map(path)
    n_header = _LENGTH.unpack_from(mapped)[0]
    if n_header > min(MAX_HEADER_BYTES, len(mapped) - _LENGTH.size):
        fail(path, f"the header is said to have {n_header} bytes; the file has room for {len(mapped) - _LENGTH.size}")
    data_start = _LENGTH.size + n_header
    header = read_object(path, mapped[_LENGTH.size : data_start], "the header")
    header.pop("__metadata__", None)
    tensors = {name: _place(path, name, value, data_start, len(mapped)) for name, value in header.items()}
    placed = sorted(tensors.items(), key=lambda item: item[1].start)
    for (before, first), (after, second) in pairwise(placed):
        if first.end > second.start:
            fail(path, f"overlaps tensor '{shown(before)}'", f"tensor '{shown(after)}'")
    return SafetensorsFile(path, MappingProxyType(tensors), mapped)


def read_object(path: Path, raw: bytes, what: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        ModelFileError: It is not JSON, not an object, or says one key twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key occurs twice")
        return found

    try:
        value = json.loads(raw, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        fail(path, f"{what} is not JSON that can be read ({error})")
    if not isinstance(value, dict):
        fail(path, f"{what} is not a JSON object")
    return value


def fail(path: Path, problem: str, where: str = "") -> NoReturn:
    """Raise ModelFileError about a file."""
    raise ModelFileError(path, problem, where)


def _map(path: Path) -> mmap.mmap:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            fail(path, "this is not a regular file")
        if status.st_size < _LENGTH.size + 2:
            fail(path, f"{status.st_size} bytes are too few for a safetensors file")
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ModelFileError(path, f"cannot be opened: {reason}") from error


def _place(path: Path, name: str, value: Any, data_start: int, file_bytes: int) -> Place:
    where = f"tensor '{shown(name)}'"
    if not isinstance(value, dict):
        fail(path, "is not described by an object", where)
    dtype: Any = value.get("dtype")
    shape: Any = value.get("shape")
    offsets: Any = value.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        fail(path, f"has the type {dtype!r:.40}; expected one of {', '.join(ITEM_BYTES)}", where)
    if not _are_counts(shape) or len(shape) > MAX_DIMS:
        fail(path, f"has the shape {shape!r:.80}; expected at most {MAX_DIMS} whole numbers", where)
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        fail(path, f"has data_offsets {offsets!r:.80}; expected where it begins and where it ends", where)
    start, end = (data_start + offset for offset in offsets)
    n_bytes = prod(shape) * ITEM_BYTES[dtype]
    if end - start != n_bytes:
        fail(path, f"{dtype} of shape {shape} takes {n_bytes} bytes, its data_offsets span {end - start}", where)
    if end > file_bytes:
        size = readable_bytes(n_bytes)
        fail(path, f"needs {size} at byte {start}, past the end of the file ({file_bytes} bytes)", where)
    return Place(dtype, tuple(shape), start, end)


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
