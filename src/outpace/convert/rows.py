"""Tensors that are read row by row when they are written, and what can be done to them on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from outpace.gguf.blocks import Floats
from outpace.gguf.file import GGUFFile, TensorInfo
from outpace.gguf.quants import dequantize
from outpace.gguf.types import GGMLType, row_bytes


class Rows(Protocol):
    """A tensor to be written. Its last dimension is a row; all others together count the rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes, outermost first; at least one."""

    def read(self, start: int, stop: int) -> Floats:
        """Return some rows, at least one: float32 [stop - start, columns]."""

    def release(self) -> None:
        """Let the system take back the memory of what was read."""


def n_rows(rows: Rows) -> int:
    """Return how many rows a tensor has: 1 for a vector."""
    return prod(rows.shape[:-1])


def n_elements(rows: Rows) -> int:
    """Return how many numbers a tensor has."""
    return prod(rows.shape)


@dataclass(frozen=True)
class Shaped:
    """The same rows under another shape, which has the same columns."""

    rows: Rows
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        assert self.shape[-1] == self.rows.shape[-1] and prod(self.shape) == n_elements(self.rows)

    def read(self, start: int, stop: int) -> Floats:
        """See `Rows`."""
        return self.rows.read(start, stop)

    def release(self) -> None:
        """See `Rows`."""
        self.rows.release()


@dataclass(frozen=True)
class Changed:
    """Rows after a function of their values or columns, which keeps their number and width."""

    rows: Rows
    change: Callable[[Floats], Floats]

    @property
    def shape(self) -> tuple[int, ...]:
        """See `Rows`."""
        return self.rows.shape

    def read(self, start: int, stop: int) -> Floats:
        """See `Rows`."""
        return self.change(self.rows.read(start, stop))

    def release(self) -> None:
        """See `Rows`."""
        self.rows.release()


class Picked:
    """Some rows in an order of their own.

    Args:
        rows: A tensor.
        index: Row number for each row of the result, [n].
        shape: Shape of the result; [n, columns] if it is not given.
    """

    def __init__(self, rows: Rows, index: NDArray[np.int64], shape: tuple[int, ...] | None = None) -> None:
        self._rows, self._index = rows, index
        self.shape = shape if shape is not None else (len(index), rows.shape[-1])
        assert prod(self.shape[:-1]) == len(index) and self.shape[-1] == rows.shape[-1]

    def read(self, start: int, stop: int) -> Floats:
        """See `Rows`. Runs of neighbours are read at once."""
        wanted = self._index[start:stop]
        out = np.empty((len(wanted), self.shape[-1]), np.float32)
        cuts = [0, *(np.flatnonzero(np.diff(wanted) != 1) + 1).tolist(), len(wanted)]
        if len(cuts) * 4 > len(wanted):  # no runs to speak of: the whole stretch at once, if it is not much more
            low, high = int(wanted.min()), int(wanted.max()) + 1
            if high - low <= 2 * len(wanted):
                out[:] = self._rows.read(low, high)[wanted - low]
                return out
        for at, end in pairwise(cuts):
            first = int(wanted[at])
            out[at:end] = self._rows.read(first, first + end - at)
        return out

    def release(self) -> None:
        """See `Rows`."""
        self._rows.release()


class Stacked:
    """Tensors of one shape, one after another: [n, *shape]."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self._parts, self._each = parts, n_rows(parts[0])
        assert len({part.shape for part in parts}) == 1
        self.shape = (len(parts), *parts[0].shape)

    def read(self, start: int, stop: int) -> Floats:
        """See `Rows`."""
        pieces = []
        while start < stop:
            part, at = divmod(start, self._each)
            end = min(self._each, at + stop - start)
            pieces.append(self._parts[part].read(at, end))
            start += end - at
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def release(self) -> None:
        """See `Rows`."""
        for part in self._parts:
            part.release()


@dataclass(frozen=True)
class Held:
    """A small tensor that was computed, float32."""

    values: Floats

    @property
    def shape(self) -> tuple[int, ...]:
        """See `Rows`."""
        return self.values.shape

    def read(self, start: int, stop: int) -> Floats:
        """See `Rows`."""
        return self.values.reshape(-1, self.values.shape[-1])[start:stop]

    def release(self) -> None:
        """Nothing to let go of."""


@dataclass(frozen=True)
class Unread:
    """A tensor that is not to be written, and may not be there."""

    shape: tuple[int, ...]

    def read(self, start: int, stop: int) -> Floats:
        """Nobody asks."""
        raise AssertionError(f"rows {start} to {stop} of a tensor that is not wanted")

    def release(self) -> None:
        """Nothing to let go of."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """A tensor of a GGUF file."""

    file: GGUFFile
    info: TensorInfo

    @property
    def shape(self) -> tuple[int, ...]:
        """See `Rows`."""
        return self.info.shape or (1,)

    @property
    def type(self) -> GGMLType:
        """The type it is stored as."""
        return self.info.type

    def raw(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return the bytes of some rows."""
        n_bytes = row_bytes(self.type, self.shape[-1])
        return self.file.data(self.info.name)[start * n_bytes : stop * n_bytes]

    def read(self, start: int, stop: int) -> Floats:
        """See `Rows`."""
        return dequantize(self.raw(start, stop), self.type, (stop - start, self.shape[-1]))

    def release(self) -> None:
        """See `Rows`."""
        self.file.release(self.info.name)
