"""K quantisers that search: scales under which the values that weigh most are met best.

For each group a few scales are tried, each is improved by least squares and rounding in turn, and at last the scales of
a block's groups are fitted together, as the file can only hold them. Arrays lie with the elements of a group in
the first axis and the groups in the last, so that every sum runs along memory.

Weights: a group's root mean square plus |x| where there is a least value (Q4_K, Q5_K), x^2 where there is none (Q6_K),
which are those that ggml takes when it knows nothing about the activations.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from outpace.gguf import packing
from outpace.gguf.blocks import Bytes, Floats
from outpace.gguf.packing import half
from outpace.gguf.rounding import extreme, extremes, inverse, steps

# How many steps the range of a group is cut into, beside the full number: fewer steps cut off its ends less.
_AFFINE_TRIES: Final = np.linspace(-1.2, 0.8, 9, dtype=np.float32)
_SIGNED_TRIES: Final = np.linspace(-2, 1, 7, dtype=np.float32)
_ROUNDS: Final = 2  # of least squares and rounding, after the best try
_ALIKE: Final = 1e-6  # as a share: a scale and a shift that values cannot tell apart are not fitted together


def q4_k(x: Floats) -> Bytes:
    """Q4_K: [n, 256] -> [n, 144]."""
    return packing.q4_k(*_with_least(x, 15))


def q5_k(x: Floats) -> Bytes:
    """Q5_K: [n, 256] -> [n, 176]."""
    return packing.q5_k(*_with_least(x, 31))


def q6_k(x: Floats) -> Bytes:
    """Q6_K: [n, 256] -> [n, 210]."""
    groups = x.reshape(-1, 16, 16)
    wanted = _signed(np.ascontiguousarray(x.reshape(-1, 16).T), 32).reshape(-1, 16)
    d, raw = half(extreme(wanted) / -128)
    scales = steps(wanted, d, -128, 127)
    q = steps(groups, (d * scales)[:, :, None], -32, 31)
    unit = scales[:, :, None] * q
    weighted = groups * groups * unit
    power = np.sum(weighted * unit, axis=(1, 2))[:, None]
    d, raw = half(np.where(power > 0, np.sum(weighted * groups, axis=(1, 2))[:, None] * inverse(power), d))
    q = steps(groups, (d * scales)[:, :, None], -32, 31) + 32
    return packing.q6_k(raw, scales.astype(np.int8), q.astype(np.uint8))


def _with_least(x: Floats, top: int) -> tuple[Bytes, Bytes, Bytes, Bytes, Bytes]:
    """Fit scales and least values; return the two fields, 6-bit scales and mins, and the steps [n, 8, 32]."""
    groups = x.reshape(-1, 8, 32)
    wanted_scale, wanted_least = (
        each.reshape(-1, 8) for each in _affine(np.ascontiguousarray(x.reshape(-1, 32).T), top)
    )
    d, raw_d = half(wanted_scale.max(axis=1, keepdims=True) / 63)
    d_min, raw_min = half(wanted_least.max(axis=1, keepdims=True) / 63)
    scales, mins = steps(wanted_scale, d, 0, 63), steps(wanted_least, d_min, 0, 63)

    def counted() -> Floats:
        return steps(groups + (d_min * mins)[:, :, None], (d * scales)[:, :, None], 0, top)

    fitted, fitted_min = _together(groups, scales[:, :, None] * counted(), mins[:, :, None])
    is_better = (fitted > 0) & (fitted_min >= 0)
    d, raw_d = half(np.where(is_better, fitted, d))
    d_min, raw_min = half(np.where(is_better, fitted_min, d_min))
    return raw_d, raw_min, scales.astype(np.uint8), mins.astype(np.uint8), counted().astype(np.uint8)


def _together(groups: Floats, unit: Floats, mins: Floats) -> tuple[Floats, Floats]:
    """Return the two fields of blocks, [n, 1] each, that meet x ~ d * unit - d_min * mins best; 0 where none do."""
    weight = np.abs(groups) + np.sqrt(np.mean(groups * groups, axis=2, keepdims=True))
    weighted = weight * unit
    uu, um = np.sum(weighted * unit, axis=(1, 2)), np.sum(weighted * mins, axis=(1, 2))
    ux = np.sum(weighted * groups, axis=(1, 2))
    weighted = weight * mins
    mm, mx = np.sum(weighted * mins, axis=(1, 2)), np.sum(weighted * groups, axis=(1, 2))
    area = uu * mm - um * um
    by = inverse(area) * (area > _ALIKE * uu * mm)
    return ((ux * mm - mx * um) * by)[:, None], ((ux * um - mx * uu) * by)[:, None]


def _affine(x: Floats, top: int) -> tuple[Floats, Floats]:
    """Return scales and least values, [n] both at least 0, with x [k, n] ~ scale * (0 to top) - least."""
    low = np.minimum(x.min(axis=0), 0)
    weight = np.abs(x) + np.sqrt(np.einsum("kn,kn->n", x, x) / np.float32(len(x)))
    sum_w, sum_x = weight.sum(axis=0), np.einsum("kn,kn->n", weight, x)
    extent = x.max(axis=0) - low
    share = (x - low) * inverse(extent)  # 0 to 1 inside the group's range
    # Plain rounding is the one to beat; where all values are alike, nothing else can be fitted.
    scale, shift = extent / np.float32(top), low.copy()
    q, weighted = np.rint(share * np.float32(top)), np.empty_like(x)
    best = np.einsum("kn,kn->n", weight, (scale * q + shift - x) ** 2) - np.einsum("kn,kn->n", weight, x * x)

    def fit() -> None:
        """Solve for the scale and the shift that suit q, and keep them where the error is the least so far."""
        np.multiply(weight, q, out=weighted)
        sum_q, sum_qq = weighted.sum(axis=0), np.einsum("kn,kn->n", weighted, q)
        sum_qx = np.einsum("kn,kn->n", weighted, x)
        area = sum_w * sum_qq - sum_q * sum_q
        by = inverse(area)
        m = (sum_qq * sum_x - sum_q * sum_qx) * by
        s = np.where(m > 0, sum_qx * inverse(sum_qq), (sum_w * sum_qx - sum_x * sum_q) * by)
        m = np.minimum(m, 0)
        error = s * s * sum_qq + m * m * sum_w + 2 * (s * m * sum_q - s * sum_qx - m * sum_x)
        is_best = (area > _ALIKE * sum_w * sum_qq) & (s > 0) & (error < best)
        for kept, found in ((best, error), (scale, s), (shift, m)):
            np.copyto(kept, found, where=is_best)

    for more in _AFFINE_TRIES:
        np.clip(np.rint(np.multiply(share, top + more, out=q), out=q), 0, top, out=q)
        fit()
    for _ in range(_ROUNDS):
        np.multiply(np.subtract(x, shift, out=q), inverse(scale), out=q)
        np.clip(np.rint(q, out=q), 0, top, out=q)
        fit()
    return scale, -shift


def _signed(x: Floats, top: int) -> Floats:
    """Return scales [n], of either sign, with x [k, n] ~ scale * (-top to top - 1)."""
    share = x * -inverse(extremes(x))  # the extreme value is -1
    weight = x * x
    best: Floats = np.zeros_like(x[0])
    scale: Floats = np.zeros_like(x[0])
    q, weighted = np.empty_like(x), np.empty_like(x)

    def fit() -> None:
        """Solve for the scale that suits q, and keep it where it takes the most off the error."""
        np.multiply(weight, q, out=weighted)
        sum_qx = np.einsum("kn,kn->n", weighted, x)
        s = sum_qx * inverse(np.einsum("kn,kn->n", weighted, q))
        is_best = sum_qx * s > best
        np.copyto(best, sum_qx * s, where=is_best)
        np.copyto(scale, s, where=is_best)

    for more in _SIGNED_TRIES:
        np.clip(np.rint(np.multiply(share, top + more, out=q), out=q), -top, top - 1, out=q)
        fit()
    for _ in range(_ROUNDS):
        np.clip(np.rint(np.multiply(x, inverse(scale), out=q), out=q), -top, top - 1, out=q)
        fit()
    return scale
