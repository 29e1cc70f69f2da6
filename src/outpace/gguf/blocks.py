"""Fields of quantised blocks as numpy arrays: one row a block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


def values(b: Bytes, dtype: str) -> NDArray[Any]:
    """Return bytes [n, w] read as numbers of another type, [n, w / itemsize]."""
    return np.ascontiguousarray(b).view(dtype)


def f16(b: Bytes) -> Floats:
    """Return a half-precision field [n, 2] as float32 [n, 1]."""
    return values(b, "<f2").astype(np.float32)


def nibbles(b: Bytes) -> Bytes:
    """Return the low halves of bytes [..., w], then the high halves: [..., 2 w]."""
    return np.concatenate([b & 15, b >> 4], axis=-1)
