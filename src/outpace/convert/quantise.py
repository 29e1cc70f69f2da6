"""Rows into the bytes of a type: read, changed and rounded in pieces, on all threads, in the order of the file."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from outpace.convert import kscales
from outpace.convert.rows import Blocks, Rows, n_rows
from outpace.errors import ModelFileError
from outpace.gguf.blocks import Bytes, Floats
from outpace.gguf.quants import quantize
from outpace.gguf.types import GGMLType

_PIECE_ELEMENTS: Final = 1 << 20  # what one thread works on: 4 MB of float32
_BLOCKS: Final = 512  # of 256 elements, searched at a time, so that what the search needs stays in cache
_SEARCHED: MappingProxyType[GGMLType, Callable[[Floats], Bytes]] = MappingProxyType(
    {GGMLType.Q4_K: kscales.q4_k, GGMLType.Q5_K: kscales.q5_k, GGMLType.Q6_K: kscales.q6_k}
)
_LARGEST_F16: Final = 65504.0


def encode(x: Floats, kind: GGMLType) -> NDArray[np.uint8]:
    """Return values in a type, with the best scales we know to find.

    Args:
        x: Finite values of any shape; the last axis is whole blocks.
        kind: The type.

    Returns:
        uint8 [n_bytes], as a file holds them.

    Cost: on one core about 40 MB of float32 a second for Q4_K and Q5_K, 70 for Q6_K, some hundreds for others.
    """
    search = _SEARCHED.get(kind)
    if search is None:
        return quantize(x, kind)
    blocks = x.reshape(-1, 256)
    with np.errstate(all="ignore"):  # beside the point where weights are squared: what overflows is not taken
        return np.concatenate([search(blocks[at : at + _BLOCKS]) for at in range(0, len(blocks), _BLOCKS)]).reshape(-1)


def pieces(
    source: Path, name: str, rows: Rows, kind: GGMLType, pool: ThreadPoolExecutor, n_waiting: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield a tensor's bytes, piece by piece in order.

    Args:
        source: Where the model comes from, for messages.
        name: The tensor's, for messages.
        rows: The tensor.
        kind: Its type in the file.
        pool: Who does the work.
        n_waiting: How many pieces may be under way or wait to be written.

    Raises:
        ModelFileError: A value is not finite, or too large for F16.
    """
    waiting: deque[Future[NDArray[np.uint8]]] = deque()
    for start, stop in _cuts(rows):
        waiting.append(pool.submit(_piece, source, name, rows, kind, start, stop))
        if len(waiting) > n_waiting:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
    rows.release()


def check_finite(source: Path, name: str, rows: Rows) -> None:
    """Read a tensor that is copied as it is, to see that it holds numbers; see `pieces` for the arguments.

    Raises:
        ModelFileError: A value is not finite.
    """
    for start, stop in _cuts(rows):
        _largest(source, name, rows.read(start, stop), start)
    rows.release()


def _cuts(rows: Rows) -> Iterator[tuple[int, int]]:
    n, step = n_rows(rows), max(1, _PIECE_ELEMENTS // rows.shape[-1])
    for start in range(0, n, step):
        yield start, min(n, start + step)


def _largest(source: Path, name: str, x: Floats, start: int) -> float:
    """Return the largest size of a value in rows that begin with row `start`."""
    largest = float(np.abs(x).max())
    if not np.isfinite(largest):
        problem = f"rows {start} to {start + len(x) - 1} hold values that are not finite"
        raise ModelFileError(source, problem, f"tensor '{name}'")
    return largest


def _piece(source: Path, name: str, rows: Rows, kind: GGMLType, start: int, stop: int) -> NDArray[np.uint8]:
    if isinstance(rows, Blocks) and rows.type is kind:
        return rows.raw(start, stop)
    x = rows.read(start, stop)
    largest = _largest(source, name, x, start)
    if kind is GGMLType.F16 and largest > _LARGEST_F16:
        problem = f"holds {largest:.6g}, and F16 ends at {_LARGEST_F16:.0f}; BF16 and F32 hold it"
        raise ModelFileError(source, problem, f"tensor '{name}'")
    return encode(x, kind)
