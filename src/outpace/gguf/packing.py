"""Numbers into the bytes of quantised blocks: the inverse of what the dequantisers take apart.

Source: the block layouts of ggml.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from outpace.gguf.blocks import Bytes, Floats

_EACH_PAIR = np.array([0, 2, 4, 6], np.uint8)[:, None]
_EACH_GROUP = np.arange(8, dtype=np.uint8)[:, None]


def half(x: NDArray[Any]) -> tuple[Floats, Bytes]:
    """Return a field [n, 1] rounded to half precision, as numbers and as bytes [n, 2]."""
    rounded = np.clip(x, -65504, 65504).astype("<f2")
    return rounded.astype(np.float32), rounded.view(np.uint8)


def nibbles(q: Bytes) -> Bytes:
    """Pack [..., 2 w] into [..., w]: first half low, second half high."""
    low, high = np.split(q & 15, 2, axis=-1)
    packed: Bytes = low | high << 4
    return packed


def fifth_bits(q: Bytes) -> Bytes:
    """Pack bit 4 of each of [n, 8 w] into [n, w], element 0 lowest."""
    return np.packbits(q >> 4 & 1, axis=-1, bitorder="little")


def q4_k(d: Bytes, d_min: Bytes, scales: Bytes, mins: Bytes, q: Bytes) -> Bytes:
    """Assemble Q4_K: half-precision fields [n, 2], 6-bit scales and mins [n, 8], steps [n, 8, 32] -> [n, 144]."""
    return np.concatenate([d, d_min, _scales_and_mins(scales, mins), _low_halves(q)], axis=1)


def q5_k(d: Bytes, d_min: Bytes, scales: Bytes, mins: Bytes, q: Bytes) -> Bytes:
    """Assemble Q5_K: as Q4_K with steps of 5 bits -> [n, 176]."""
    fifth = (q >> 4 << _EACH_GROUP).sum(axis=1, dtype=np.uint8)
    return np.concatenate([d, d_min, _scales_and_mins(scales, mins), fifth, _low_halves(q)], axis=1)


def q6_k(d: Bytes, scales: NDArray[np.int8], q: Bytes) -> Bytes:
    """Assemble Q6_K: a half-precision field [n, 2], scales [n, 16], steps from 0 to 63 [n, 256] -> [n, 210]."""
    runs = q.reshape(-1, 2, 4, 32)
    low = nibbles(runs.reshape(-1, 2, 128)).reshape(-1, 128)
    high = (runs >> 4 << _EACH_PAIR).sum(axis=2, dtype=np.uint8).reshape(-1, 64)
    return np.concatenate([low, high, scales.view(np.uint8), d], axis=1)


def _scales_and_mins(scales: Bytes, mins: Bytes) -> Bytes:
    """Pack 6-bit scales and mins [n, 8] into [n, 12]; the inverse of `kquants.scales_and_mins`."""
    first = scales[:, :4] | scales[:, 4:] >> 4 << 6
    second = mins[:, :4] | mins[:, 4:] >> 4 << 6
    return np.concatenate([first, second, scales[:, 4:] & 15 | (mins[:, 4:] & 15) << 4], axis=1)


def _low_halves(q: Bytes) -> Bytes:
    """Pack the low halves of steps [n, 8, 32] into [n, 128], two groups a run of 32 bytes."""
    return nibbles(q.reshape(-1, 4, 64)).reshape(-1, 128)
