"""Writing GGUF files: metadata, then tensors streamed from arrays or chunks; a file appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from outpace.gguf.metadata import Metadata
from outpace.gguf.types import FLOAT_TYPES, NUMPY_TYPE, GGMLType, ValueType, row_bytes

Chunks = Iterable[bytes | memoryview | NDArray[Any]]
Tensor = tuple[GGMLType, Sequence[int], bytes | memoryview | NDArray[Any] | Chunks]

_PACK = {
    ValueType.UINT8: "<B",
    ValueType.INT8: "<b",
    ValueType.UINT16: "<H",
    ValueType.INT16: "<h",
    ValueType.UINT32: "<I",
    ValueType.INT32: "<i",
    ValueType.UINT64: "<Q",
    ValueType.INT64: "<q",
    ValueType.FLOAT32: "<f",
    ValueType.FLOAT64: "<d",
    ValueType.BOOL: "<?",
}
_OF_DTYPE: dict[np.dtype[Any], ValueType] = {
    np.dtype(code): kind for kind, code in NUMPY_TYPE.items() if kind is not ValueType.BOOL
}
_OF_DTYPE[np.dtype(np.bool_)] = ValueType.BOOL


@dataclass(frozen=True, slots=True)
class Typed:
    """A metadata value with its type written down, where the guess would be another.

    Attributes:
        kind: The value's type, or the type of the items of a list.
        value: A scalar, string, list or array.
    """

    kind: ValueType
    value: Any


def write_gguf(
    path: str | Path,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    version: int = 3,
    is_durable: bool = False,
) -> None:
    """Write a file; it appears under its name when it is complete.

    Args:
        path: Where to; an existing file is replaced.
        metadata: Key -> bool, int, float, str, a list or tuple of one of them, a numpy array, or `Typed`. Integers
            become uint32, int32, uint64 or int64 (the first that holds them all), floats float32. The alignment is
            `general.alignment` where it is given, else 32.
        tensors: Name -> (type, shape outermost first, data). Data is anything with bytes, C order, or an iterable
            of such pieces, written one by one.
        version: Format version, 2 or 3 (the same bytes but for the number).
        is_durable: Wait until the bytes are on the disk before the file appears.

    Raises:
        ValueError: A value has no GGUF type, or a tensor's data does not have the bytes its shape needs.
        OSError: The disk refuses.
    """
    path = Path(path)
    # Its name is known before it is there: whatever ends this, and when, it is taken away.
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as out:
            stream_gguf(out, metadata, tensors, version=version)
            if is_durable:
                out.flush()
                os.fsync(out.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def stream_gguf(
    out: IO[bytes], metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], *, version: int = 3
) -> None:
    """Write a file's bytes to where the caller keeps what is not whole yet; see `write_gguf`."""
    alignment = alignment_of(metadata)
    out.write(header_bytes(metadata, tensors, alignment, version))
    for name, (kind, shape, data) in tensors.items():
        _pad(out, alignment)
        _write_data(out, name, tensor_bytes(kind, shape), data)
    _pad(out, alignment)


def write_split(
    stem: str | Path, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], n_parts: int
) -> list[Path]:
    """Write the parts of a split file, tensors dealt out in runs of equal number.

    Args:
        stem: Path without `-00001-of-00002.gguf`.
        metadata: Goes to the first part; see `write_gguf`.
        tensors: See `write_gguf`.
        n_parts: How many files.

    Returns:
        Their paths in order.
    """
    names = list(tensors)
    paths = [Path(f"{stem}-{i + 1:05}-of-{n_parts:05}.gguf") for i in range(n_parts)]
    for i, path in enumerate(paths):
        mine = names[len(names) * i // n_parts : len(names) * (i + 1) // n_parts]
        split = {
            "split.no": Typed(ValueType.UINT16, i),
            "split.count": Typed(ValueType.UINT16, n_parts),
            "split.tensors.count": Typed(ValueType.INT32, len(names)),
        }
        alignment = {key: value for key, value in metadata.items() if key == "general.alignment"}
        write_gguf(path, {**(alignment if i else metadata), **split}, {name: tensors[name] for name in mine})
    return paths


def keys_as_they_are(metadata: Metadata) -> dict[str, Typed]:
    """Return a file's keys to be written again, each of its type, without those of a cut into parts."""
    return {
        key: Typed(metadata.entry(key).kind, value) for key, value in metadata.items() if not key.startswith("split.")
    }


def tensor_bytes(kind: GGMLType, shape: Sequence[int]) -> int:
    """Return the bytes of a tensor of this type and shape (outermost first)."""
    n = row_bytes(kind, shape[-1] if shape else 1)
    for size in shape[:-1]:
        n *= size
    return n


def alignment_of(metadata: Mapping[str, Any]) -> int:
    """Return what offsets of tensors are multiples of: `general.alignment`, or the format's own 32."""
    alignment = metadata.get("general.alignment", 32)
    return int(alignment.value if isinstance(alignment, Typed) else alignment)


def header_bytes(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], alignment: int, version: int) -> bytes:
    """Return everything that comes before the tensor data, without the padding after it."""
    parts = [b"GGUF", struct.pack("<IQQ", version, len(tensors), len(metadata))]
    for key, value in metadata.items():
        parts += [_string(key), encode_value(value)]
    offset = 0
    for name, (kind, shape, _) in tensors.items():
        dims = [int(size) for size in reversed(shape)]
        parts += [_string(name), struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)]
        offset += -(-tensor_bytes(kind, shape) // alignment) * alignment
    return b"".join(parts)


def encode_value(value: Any) -> bytes:
    """Return a metadata value as the file holds it: its type, then its bytes; see `write_gguf` for the types."""
    kind, value = (value.kind, value.value) if isinstance(value, Typed) else (None, value)
    if isinstance(value, np.ndarray | list | tuple):
        items = value
        if isinstance(value, np.ndarray) and kind is not None and not _lies_as_written(value, kind):
            items = value.tolist()
        kind = kind if kind is not None else _guess(items)
        return struct.pack("<IIQ", ValueType.ARRAY, kind, len(items)) + _items(kind, items)
    kind = kind if kind is not None else _guess([value])
    return struct.pack("<I", kind) + _items(kind, [value])


def _lies_as_written(values: NDArray[np.generic], kind: ValueType) -> bool:
    """Return whether numbers are in memory as in a file: a list of them would take ten times as much."""
    return kind is not ValueType.BOOL and kind in NUMPY_TYPE and values.dtype == NUMPY_TYPE[kind] and values.ndim == 1


def _items(kind: ValueType, items: Any) -> bytes:
    if kind is ValueType.STRING:
        return b"".join(map(_string, items))
    if kind is ValueType.ARRAY:
        raise ValueError("arrays of arrays are not written")
    if isinstance(items, np.ndarray):
        return np.ascontiguousarray(items).tobytes()
    if kind in FLOAT_TYPES or kind is ValueType.BOOL:
        return np.asarray(items, np.bool_ if kind is ValueType.BOOL else NUMPY_TYPE[kind]).tobytes()
    return b"".join(struct.pack(_PACK[kind], item) for item in items)


def _guess(items: Any) -> ValueType:
    if isinstance(items, np.ndarray):
        if items.dtype not in _OF_DTYPE or items.ndim != 1:
            raise ValueError(f"no GGUF value type for a numpy array of {items.dtype} with {items.ndim} dimensions")
        return _OF_DTYPE[items.dtype]
    kinds = {type(item) for item in items}
    if not kinds:
        return ValueType.INT32
    if kinds <= {str, bytes}:
        return ValueType.STRING
    if kinds == {bool}:
        return ValueType.BOOL
    if kinds <= {int, float} and float in kinds:
        return ValueType.FLOAT32
    if kinds == {int}:
        low, high = min(items), max(items)
        for kind in (ValueType.UINT32, ValueType.INT32, ValueType.UINT64, ValueType.INT64):
            bounds = np.iinfo(NUMPY_TYPE[kind])
            if bounds.min <= low and high <= bounds.max:
                return kind
    raise ValueError(f"no GGUF value type for {items!r:.80}")


def _string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw)) + raw


def _write_data(file: IO[bytes], name: str, n_bytes: int, data: Any) -> None:
    written = 0
    for piece in [data] if isinstance(data, bytes | bytearray | memoryview | np.ndarray) else data:
        flat: Any = np.ascontiguousarray(piece).reshape(-1).view(np.uint8) if isinstance(piece, np.ndarray) else piece
        raw = memoryview(flat)
        file.write(raw)
        written += raw.nbytes
    if written != n_bytes:
        raise ValueError(f"tensor '{name}' needs {n_bytes} bytes for its type and shape, {written} given")


def _pad(file: IO[bytes], alignment: int) -> None:
    file.write(bytes(-file.tell() % alignment))
