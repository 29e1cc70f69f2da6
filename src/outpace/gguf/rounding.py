"""Quantisers: each block's range sets its scale, values go to the nearest step. For tests and tools, not for quality.

Each takes float32 [n, block size] and returns uint8 [n, block bytes]. Source: the block layouts of ggml.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from outpace.gguf.blocks import Bytes, Floats


def _half(x: NDArray[Any]) -> tuple[Floats, Bytes]:
    """Return a field [n, 1] rounded to half precision, as numbers and as bytes [n, 2]."""
    half = np.clip(x, -65504, 65504).astype("<f2")
    return half.astype(np.float32), half.view(np.uint8)


def _steps(x: NDArray[Any], scale: NDArray[Any], low: int, high: int) -> Floats:
    """Return x / scale as whole numbers between low and high; 0 (or the nearest allowed) where the scale is 0."""
    q = np.divide(x, scale, out=np.zeros_like(x), where=np.broadcast_to(scale != 0, x.shape))
    whole: Floats = np.clip(np.rint(q), low, high)
    return whole


def _extreme(x: NDArray[Any]) -> NDArray[Any]:
    """Return the element of largest magnitude of each last axis, with its sign, the axis kept."""
    return np.take_along_axis(x, np.abs(x).argmax(axis=-1, keepdims=True), axis=-1)


def _pack_nibbles(q: Bytes) -> Bytes:
    """Pack [..., 2 w] into [..., w]: first half low, second half high."""
    low, high = np.split(q & 15, 2, axis=-1)
    packed: Bytes = low | high << 4
    return packed


def _pack_bit(q: Bytes, bit: int) -> Bytes:
    """Pack one bit of each of [n, 8 w] into [n, w], element 0 lowest."""
    return np.packbits(q >> bit & 1, axis=-1, bitorder="little")


def f32(x: Floats) -> Bytes:
    """F32, as it is."""
    return x.astype("<f4").view(np.uint8)


def f16(x: Floats) -> Bytes:
    """F16, to nearest even; too large becomes infinite."""
    with np.errstate(over="ignore"):
        return x.astype("<f2").view(np.uint8)


def bf16(x: Floats) -> Bytes:
    """BF16, to nearest even; NaN stays NaN."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    rounded = bits + (0x7FFF + (bits >> 16 & 1))
    return (np.where(np.isnan(x), bits | 1 << 22, rounded) >> 16).astype("<u2").view(np.uint8)


def q8_0(x: Floats) -> Bytes:
    """Q8_0: scale = largest magnitude / 127."""
    d, raw = _half(np.abs(x).max(axis=1, keepdims=True) / 127)
    return np.concatenate([raw, _steps(x, d, -127, 127).astype(np.int8).view(np.uint8)], axis=1)


def q4_0(x: Floats) -> Bytes:
    """Q4_0: the extreme value becomes -8."""
    d, raw = _half(_extreme(x) / -8)
    return np.concatenate([raw, _pack_nibbles((_steps(x, d, -8, 7) + 8).astype(np.uint8))], axis=1)


def q4_1(x: Floats) -> Bytes:
    """Q4_1: the least value becomes 0, the largest 15."""
    least, raw_least = _half(x.min(axis=1, keepdims=True))
    d, raw = _half((x.max(axis=1, keepdims=True) - least) / 15)
    return np.concatenate([raw, raw_least, _pack_nibbles(_steps(x - least, d, 0, 15).astype(np.uint8))], axis=1)


def q5_0(x: Floats) -> Bytes:
    """Q5_0: the extreme value becomes -16."""
    d, raw = _half(_extreme(x) / -16)
    q = (_steps(x, d, -16, 15) + 16).astype(np.uint8)
    return np.concatenate([raw, _pack_bit(q, 4), _pack_nibbles(q)], axis=1)


def q5_1(x: Floats) -> Bytes:
    """Q5_1: the least value becomes 0, the largest 31."""
    least, raw_least = _half(x.min(axis=1, keepdims=True))
    d, raw = _half((x.max(axis=1, keepdims=True) - least) / 31)
    q = _steps(x - least, d, 0, 31).astype(np.uint8)
    return np.concatenate([raw, raw_least, _pack_bit(q, 4), _pack_nibbles(q)], axis=1)


def q4_k(x: Floats) -> Bytes:
    """Q4_K: each group of 32 from its least value (or 0) to its largest."""
    head, q = _scale_and_shift(x, 15)
    return np.concatenate([head, _pack_groups(q)], axis=1)


def q5_k(x: Floats) -> Bytes:
    """Q5_K: as Q4_K with 31 steps."""
    head, q = _scale_and_shift(x, 31)
    fifth = (q >> 4 << np.arange(8, dtype=np.uint8)[:, None]).sum(axis=1, dtype=np.uint8)
    return np.concatenate([head, fifth, _pack_groups(q)], axis=1)


def q6_k(x: Floats) -> Bytes:
    """Q6_K: the extreme value of each group of 16 becomes -32."""
    groups = x.reshape(-1, 16, 16)
    wanted = _extreme(groups)[:, :, 0] / -32
    d, raw = _half(_extreme(wanted) / -128)
    scales = _steps(wanted, d, -128, 127)
    q = (_steps(groups, (d * scales)[:, :, None], -32, 31) + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    low = _pack_nibbles(q.reshape(-1, 2, 128)).reshape(-1, 128)
    high = (q >> 4 << np.array([0, 2, 4, 6], np.uint8)[:, None]).sum(axis=2, dtype=np.uint8).reshape(-1, 64)
    return np.concatenate([low, high, scales.astype(np.int8).view(np.uint8), raw], axis=1)


def _scale_and_shift(x: Floats, top: int) -> tuple[Bytes, Bytes]:
    """Fit 6-bit scales and mins; return the block's first 16 bytes and the steps [n, 8, 32]."""
    groups = x.reshape(-1, 8, 32)
    wanted_least = np.maximum(-groups.min(axis=2), 0)
    wanted_scale = (np.maximum(groups.max(axis=2), 0) + wanted_least) / top
    d, raw_d = _half(wanted_scale.max(axis=1, keepdims=True) / 63)
    d_min, raw_min = _half(wanted_least.max(axis=1, keepdims=True) / 63)
    scales, mins = _steps(wanted_scale, d, 0, 63), _steps(wanted_least, d_min, 0, 63)
    q = _steps(groups + (d_min * mins)[:, :, None], (d * scales)[:, :, None], 0, top).astype(np.uint8)
    return np.concatenate([raw_d, raw_min, _pack_scales(scales.astype(np.uint8), mins.astype(np.uint8))], axis=1), q


def _pack_scales(scales: Bytes, mins: Bytes) -> Bytes:
    """Pack 6-bit scales and mins [n, 8] into [n, 12]; the inverse of `kquants.scales_and_mins`."""
    first = scales[:, :4] | scales[:, 4:] >> 4 << 6
    second = mins[:, :4] | mins[:, 4:] >> 4 << 6
    return np.concatenate([first, second, scales[:, 4:] & 15 | (mins[:, 4:] & 15) << 4], axis=1)


def _pack_groups(q: Bytes) -> Bytes:
    """Pack the low halves of steps [n, 8, 32] into [n, 128], two groups a run of 32 bytes."""
    return _pack_nibbles(q.reshape(-1, 4, 64)).reshape(-1, 128)
