"""Float32 log and exp by multiplication and addition alone, so that numpy and every native tier give the same bits.

No fused multiply-add (numpy has none) and no library call (they differ between versions): each operation below is
one IEEE rounding, in the order written. `native/kernels/noise.h` is the same arithmetic on sixteen lanes.

Source: the range reductions and coefficients of Cephes `logf` and `expf` (S. Moshier, netlib), within 2 ulp.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

F32: TypeAlias = NDArray[np.float32]
I32: TypeAlias = NDArray[np.int32]

_SQRT_HALF_BITS = np.int32(0x3F3504F3)
SQRT_HALF = np.int32(0x3F3504F3).view(np.float32)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_LOG2_E = np.float32(1.44269504088896341)
_LOG = tuple(
    map(
        np.float32,
        (
            7.0376836292e-2,
            -1.1514610310e-1,
            1.1676998740e-1,
            -1.2420140846e-1,
            1.4249322787e-1,
            -1.6668057665e-1,
            2.0000714765e-1,
            -2.4999993993e-1,
            3.3333331174e-1,
        ),
    )
)
_EXP = tuple(
    map(
        np.float32,
        (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1),
    )
)


def split(x: F32) -> tuple[F32, F32]:
    """Return (t, e) with x = (1 + t) * 2^e and 1 + t in [sqrt(1/2), sqrt(2)); x is positive and normal."""
    bits = x.view(np.int32)
    e = (bits - _SQRT_HALF_BITS) >> np.int32(23)
    t = (bits - (e << np.int32(23))).view(np.float32) - np.float32(1)
    return t, e.astype(np.float32)


def log_of(t: F32, e: F32) -> F32:
    """Return log((1 + t) * 2^e) for a pair from `split`; for e = 0 it is log1p, precise however small t is."""
    z = t * t
    p = np.full_like(t, _LOG[0])
    for c in _LOG[1:]:
        p = p * t + c
    y = (t * z) * p
    y = y + e * _LN2_LOW
    y = y - z * np.float32(0.5)
    return (t + y) + e * _LN2_HIGH


def exp_scaled(x: F32, log2_scale: int) -> F32:
    """Return 2^log2_scale * e^x for x <= 0; below -80 it is as for -80, so a masked token (-inf) weighs nothing."""
    x = np.maximum(x, np.float32(-80))
    n = np.rint(x * _LOG2_E)
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = np.full_like(r, _EXP[0])
    for c in _EXP[1:]:
        p = p * r + c
    p = p * (r * r) + (r + np.float32(1))
    scale: F32 = ((n.astype(np.int32) + np.int32(127 + log2_scale)) << np.int32(23)).view(np.float32)
    out: F32 = p * scale
    return out
