"""Where values lie in a program's workspace."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from outpace import _native

NONE = -1
ALIGN = 64  # bytes
BLOCK = 32  # activations that share a scale record

# Bytes from one offset up to another.
Extent: TypeAlias = tuple[int, int]


def padded(n: int, to: int = BLOCK) -> int:
    """Return n, or the next multiple of `to`."""
    return -(-n // to) * to


@dataclass(slots=True)
class Buffer:
    """Where one value lies: float rows, rows of integer codes with scales, or both; offsets in bytes.

    Attributes:
        rows: Room for so many.
        width: Values of a row.
        stride: Floats from one row to the next.
        floats: Where the first row begins, or NONE.
        groups: Equal parts of a row that do not lie side by side; 1 where all of it does.
        group_stride: Floats from one of them to the next.
        is_view: Whether its floats are part of another buffer.
        q: Where the codes begin, or NONE.
        scales: Where their scale records begin.
    """

    rows: int
    width: int
    stride: int
    floats: int = NONE
    groups: int = 1
    group_stride: int = 0
    is_view: bool = False
    q: int = NONE
    scales: int = NONE

    @property
    def code_stride(self) -> int:
        """Codes from one row to the next."""
        return padded(self.width)

    @property
    def code_bytes(self) -> int:
        """Bytes of the codes."""
        n_bytes: int = _native.codes_bytes(self.rows, self.code_stride)
        return n_bytes

    @property
    def scale_bytes(self) -> int:
        """Bytes of the scale records."""
        n_bytes: int = _native.scales_bytes(self.rows, self.code_stride)
        return n_bytes

    def place(self, group: int = 0) -> tuple[int, int, int]:
        """Return offset, stride and the stride of groups of `group` values, as an operand of a row-wise verb."""
        return self.floats, self.stride, group if self.groups == 1 else self.group_stride

    def codes(self) -> tuple[int, int, int, int]:
        """Return offsets of codes and scales, their stride and their rows."""
        return self.q, self.scales, self.code_stride, self.rows

    def part(self, begin: int, width: int, groups: int = 1, group_stride: int = 0) -> Buffer:
        """Return a view of `width` values of each row, from `begin` on in each of so many groups."""
        return replace(
            self,
            width=width,
            floats=self.floats + 4 * begin,
            groups=groups,
            group_stride=group_stride,
            is_view=True,
            q=NONE,
            scales=NONE,
        )

    def float_extents(self) -> list[Extent]:
        """Return what reading or writing its floats touches."""
        return [(self.floats, self.floats + 4 * self.rows * self.stride)] if self.floats != NONE else []

    def code_extents(self) -> list[Extent]:
        """Return what reading or writing its codes touches."""
        if self.q == NONE:
            return []
        return [(self.q, self.q + self.code_bytes), (self.scales, self.scales + self.scale_bytes)]


NOWHERE = (NONE, 0, 0)
NO_CODES = (NONE, NONE, 0, 0)


class Space:
    """Hands out stretches of the workspace and takes them back.

    State: `end`, up to where any stretch was ever handed out.
    """

    def __init__(self) -> None:
        self.end = 0
        self._free: list[Extent] = []  # bytes, offset

    def take(self, n_bytes: int) -> int:
        """Return the offset of so many bytes."""
        size = padded(n_bytes, ALIGN)
        for i, (free, offset) in enumerate(self._free):
            if free == size:
                del self._free[i]
                return offset
        self.end += size
        return self.end - size

    def give(self, offset: int, n_bytes: int) -> None:
        """Take back what `take(n_bytes)` handed out."""
        self._free.append((padded(n_bytes, ALIGN), offset))


class Hazards:
    """Which instructions may run side by side: those between which no byte is written by one and touched by another.

    State: what was touched since the last wait.
    """

    def __init__(self) -> None:
        self._read: list[Extent] = []
        self._written: list[Extent] = []

    def waits(self, reads: list[Extent], writes: list[Extent]) -> bool:
        """Note what the next instruction touches; return whether it has to wait for those before it."""
        waits = _meet(self._written, reads) or _meet(self._written, writes) or _meet(self._read, writes)
        if waits:
            self._read, self._written = [], []
        self._read += reads
        self._written += writes
        return waits


def _meet(some: list[Extent], others: list[Extent]) -> bool:
    return any(a < d and c < b for a, b in some for c, d in others)
