"""Quantisers: each block's range sets its scale, values go to the nearest step.

The types of 32 give the same bits as ggml: steps are counted with the scale before it is rounded to half precision.
The K types are plain here; `convert` searches better scales for them. Each takes float32 [n, block size] and returns
uint8 [n, block bytes]. Source: the block layouts of ggml.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from outpace.gguf import packing
from outpace.gguf.blocks import Bytes, Floats
from outpace.gguf.packing import half, nibbles


def inverse(scale: NDArray[Any]) -> NDArray[Any]:
    """Return 1 / scale, 0 where that is no finite number: a block of zeros, or of what is as good as zero."""
    with np.errstate(divide="ignore", over="ignore"):
        found = 1 / scale
    return np.where(np.isfinite(found), found, np.zeros_like(scale))


def steps(x: NDArray[Any], scale: NDArray[Any], low: int, high: int) -> Floats:
    """Return x / scale as whole numbers between low and high; 0 (or the nearest allowed) where the scale is 0."""
    q = np.divide(x, scale, out=np.zeros_like(x), where=np.broadcast_to(scale != 0, x.shape))
    whole: Floats = np.clip(np.rint(q), low, high)
    return whole


def extreme(x: NDArray[Any]) -> NDArray[Any]:
    """Return the element of largest magnitude of each last axis, with its sign, the axis kept."""
    return np.take_along_axis(x, np.abs(x).argmax(axis=-1, keepdims=True), axis=-1)


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
    """Q8_0: scale = largest magnitude / 127; halves go away from zero."""
    d = np.abs(x).max(axis=1, keepdims=True) / 127
    scaled = x * inverse(d)
    size = np.abs(scaled)
    whole = np.floor(size)
    q = np.copysign(whole + (size - whole >= 0.5), scaled)
    return np.concatenate([half(d)[1], q.astype(np.int8).view(np.uint8)], axis=1)


def q4_0(x: Floats) -> Bytes:
    """Q4_0: the extreme value becomes -8."""
    d = extreme(x) / -8
    return np.concatenate([half(d)[1], nibbles(_counted(x, d, 8, 15))], axis=1)


def q4_1(x: Floats) -> Bytes:
    """Q4_1: the least value becomes 0, the largest 15."""
    d, least, q = _from_least(x, 15)
    return np.concatenate([d, least, nibbles(q)], axis=1)


def q5_0(x: Floats) -> Bytes:
    """Q5_0: the extreme value becomes -16."""
    d = extreme(x) / -16
    q = _counted(x, d, 16, 31)
    return np.concatenate([half(d)[1], packing.fifth_bits(q), nibbles(q)], axis=1)


def q5_1(x: Floats) -> Bytes:
    """Q5_1: the least value becomes 0, the largest 31."""
    d, least, q = _from_least(x, 31)
    return np.concatenate([d, least, packing.fifth_bits(q), nibbles(q)], axis=1)


def q4_k(x: Floats) -> Bytes:
    """Q4_K: each group of 32 from its least value (or 0) to its largest."""
    return packing.q4_k(*_scale_and_shift(x, 15))


def q5_k(x: Floats) -> Bytes:
    """Q5_K: as Q4_K with 31 steps."""
    return packing.q5_k(*_scale_and_shift(x, 31))


def q6_k(x: Floats) -> Bytes:
    """Q6_K: the extreme value of each group of 16 becomes -32."""
    groups = x.reshape(-1, 16, 16)
    wanted = extreme(groups)[:, :, 0] / -32
    d, raw = half(extreme(wanted) / -128)
    scales = steps(wanted, d, -128, 127)
    q = steps(groups, (d * scales)[:, :, None], -32, 31) + 32
    return packing.q6_k(raw, scales.astype(np.int8), q.astype(np.uint8))


def _counted(x: Floats, d: NDArray[Any], zero: int, top: int) -> Bytes:
    """Return steps counted from below, `zero` of them standing for 0, cut at `top`."""
    q: Bytes = np.clip(np.trunc(x * inverse(d) + np.float32(zero + 0.5)), 0, top).astype(np.uint8)
    return q


def _from_least(x: Floats, top: int) -> tuple[Bytes, Bytes, Bytes]:
    """Return the fields for the scale and the least value, [n, 2] each, and the steps above it, [n, 32]."""
    least = x.min(axis=1, keepdims=True)
    d = (x.max(axis=1, keepdims=True) - least) / top
    return half(d)[1], half(least)[1], _counted(x - least, d, 0, top)


def _scale_and_shift(x: Floats, top: int) -> tuple[Bytes, Bytes, Bytes, Bytes, Bytes]:
    """Fit 6-bit scales and mins; return the two fields, scales, mins and the steps [n, 8, 32]."""
    groups = x.reshape(-1, 8, 32)
    wanted_least = np.maximum(-groups.min(axis=2), 0)
    wanted_scale = (np.maximum(groups.max(axis=2), 0) + wanted_least) / top
    d, raw_d = half(wanted_scale.max(axis=1, keepdims=True) / 63)
    d_min, raw_min = half(wanted_least.max(axis=1, keepdims=True) / 63)
    scales, mins = steps(wanted_scale, d, 0, 63), steps(wanted_least, d_min, 0, 63)
    q = steps(groups + (d_min * mins)[:, :, None], (d * scales)[:, :, None], 0, top)
    return raw_d, raw_min, scales.astype(np.uint8), mins.astype(np.uint8), q.astype(np.uint8)
