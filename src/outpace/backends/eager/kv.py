"""A paged KV cache in float32, rounded as the type that is asked for would round it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from outpace.config import KV_TYPES
from outpace.errors import UnsupportedError
from outpace.graph.step import PAGE

Array: TypeAlias = NDArray[np.float32]

# What the reference stores KV as; f32 keeps every bit, for comparison with other implementations.
KV_ROUNDING = (*KV_TYPES, "f32")


class PagedKV:
    """Keys and values of every layer in pages of PAGE positions, rounded as the cache's type would round them.

    State: float32 arrays [n_pages * PAGE, G, K], made when a layer is first written. Memory that no step has
    written is NaN, so that reading it shows.
    """

    def __init__(self, n_pages: int, kv_type: str) -> None:
        if kv_type not in KV_ROUNDING:
            raise UnsupportedError("KV type", kv_type, KV_ROUNDING)
        self._n_pages, self._kv_type = n_pages, kv_type
        self._layers: dict[int, tuple[Array, Array]] = {}

    def write(self, layer: int, slots: NDArray[np.intp], k: Array, v: Array) -> None:
        """Store rows k, v [T, G, K] at `slots` [T] (page * PAGE + offset)."""
        if layer not in self._layers:
            shape = (self._n_pages * PAGE, *k.shape[1:])
            self._layers[layer] = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
        keys, values = self._layers[layer]
        keys[slots], values[slots] = self._round(k), self._round(v)

    def read(self, layer: int, slots: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return keys and values [C, G, K] of `slots` [C]."""
        keys, values = self._layers[layer]
        return keys[slots], values[slots]

    def copy_page(self, source: int, target: int) -> None:
        """Copy one page over all layers."""
        for arrays in self._layers.values():
            for array in arrays:
                array[target * PAGE : (target + 1) * PAGE] = array[source * PAGE : (source + 1) * PAGE]

    def _round(self, x: Array) -> Array:
        return _ROUND[self._kv_type](x)


def round_f16(x: Array) -> Array:
    """Round values to what f16 can hold."""
    return x.astype(np.float16).astype(np.float32)


def round_q8_0(x: Array) -> Array:
    """Round values to what q8_0 can hold: blocks of 32 along the last dimension, an f16 scale of max/127 each."""
    blocks = _blocks(x)
    scale = np.abs(blocks).max(axis=-1, keepdims=True) / np.float32(127)
    steps = np.rint(blocks / np.where(scale > 0, scale, np.float32(1)))
    return _values(steps, scale, x)


def round_q4_0(x: Array) -> Array:
    """Round values to what q4_0 can hold: blocks of 32 along the last dimension, whose extreme value is -8 steps.

    The extreme is the value of largest magnitude, the positive one of two; 8 steps up become 7. The scale is f16.
    """
    blocks = _blocks(x)
    most, least = blocks.max(axis=-1, keepdims=True), blocks.min(axis=-1, keepdims=True)
    extreme = np.where(most >= -least, most, least)
    inverse = np.float32(-8) / np.where(extreme != 0, extreme, np.float32(np.inf))
    steps = np.rint(np.minimum(blocks * inverse, np.float32(7)))
    return _values(steps, extreme / np.float32(-8), x)


def _blocks(x: Array) -> Array:
    """Return values in blocks [..., blocks, 32] along the last dimension; the last one is filled up with zeros."""
    padded = np.zeros((*x.shape[:-1], -(-x.shape[-1] // 32) * 32), np.float32)
    padded[..., : x.shape[-1]] = x
    return padded.reshape(*x.shape[:-1], -1, 32)


def _values(steps: Array, scale: Array, x: Array) -> Array:
    """Return steps times a scale that is kept in f16, in the shape of x."""
    rounded: Array = (steps * round_f16(scale)).reshape(*x.shape[:-1], -1)[..., : x.shape[-1]]
    return rounded


_ROUND: dict[str, Callable[[Array], Array]] = {
    "f16": round_f16,
    "q8_0": round_q8_0,
    "q4_0": round_q4_0,
    "f32": lambda x: x,
}
