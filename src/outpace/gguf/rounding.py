"""Quantisers: each block's range sets its scale, values go to the nearest step.

The types of 32 give the same bits as ggml: steps are counted with the scale before it is rounded to half precision.
The K types are plain here; `convert` searches better scales for them. Each takes float32 [n, block size] and returns
uint8 [n, block bytes]. The types of 32 work on a copy whose columns are the blocks: what is found of each block is then
found along memory. Source: the block layouts of ggml.
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
    q: Floats = np.divide(x, np.where(scale == 0, np.float32(np.inf), scale))
    whole: Floats = np.clip(np.rint(q, out=q), low, high, out=q)
    return whole


def extreme(x: NDArray[Any]) -> NDArray[Any]:
    """Return the element of largest magnitude of each last axis, with its sign, the axis kept."""
    return np.take_along_axis(x, np.abs(x).argmax(axis=-1, keepdims=True), axis=-1)


def extremes(columns: NDArray[Any]) -> NDArray[Any]:
    """Return the same of each column: [k, n] -> [n]."""
    low, high = columns.min(axis=0), columns.max(axis=0)
    found: NDArray[Any] = np.where(high > -low, high, low)
    tied = np.flatnonzero(high == -low)  # of two that are as large, the first
    found[tied] = extreme(columns[:, tied].T)[:, 0]
    return found


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
    columns = _columns(x)
    d = np.abs(extremes(columns)) / 127
    columns *= inverse(d)
    q = np.trunc(columns)
    columns -= q
    columns *= 2
    q += np.trunc(columns, out=columns)
    return np.concatenate([half(d[:, None])[1], q.astype(np.int8).view(np.uint8).T], axis=1)


def q4_0(x: Floats) -> Bytes:
    """Q4_0: the extreme value becomes -8."""
    d, q = _from_extreme(x, 8)
    return np.concatenate([d, nibbles(q)], axis=1)


def q4_1(x: Floats) -> Bytes:
    """Q4_1: the least value becomes 0, the largest 15."""
    d, least, q = _from_least(x, 15)
    return np.concatenate([d, least, nibbles(q)], axis=1)


def q5_0(x: Floats) -> Bytes:
    """Q5_0: the extreme value becomes -16."""
    d, q = _from_extreme(x, 16)
    return np.concatenate([d, packing.fifth_bits(q), nibbles(q)], axis=1)


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


def _columns(x: Floats) -> Floats:
    """Return a copy [k, n] of blocks [n, k]."""
    return np.array(x.T, order="C")


def _counted(columns: Floats, d: NDArray[Any], zero: int, top: int) -> Bytes:
    """Return steps [n, k] counted from below, `zero` of them standing for 0, cut at `top`; `columns` is used up."""
    columns *= inverse(d)
    columns += np.float32(zero + 0.5)
    return np.ascontiguousarray(np.minimum(columns, top, out=columns).astype(np.uint8).T)


def _from_extreme(x: Floats, zero: int) -> tuple[Bytes, Bytes]:
    """Return the field for the scale, [n, 2], and steps, [n, 32]: 0 for the extreme value, `zero` for 0."""
    columns = _columns(x)
    d = extremes(columns) / -zero
    return half(d[:, None])[1], _counted(columns, d, zero, 2 * zero - 1)


def _from_least(x: Floats, top: int) -> tuple[Bytes, Bytes, Bytes]:
    """Return the fields for the scale and the least value, [n, 2] each, and the steps above it, [n, 32]."""
    columns = _columns(x)
    least = columns.min(axis=0)
    d = (columns.max(axis=0) - least) / top
    columns -= least
    return half(d[:, None])[1], half(least[:, None])[1], _counted(columns, d, 0, top)


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
