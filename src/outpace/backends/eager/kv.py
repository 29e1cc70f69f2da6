"""A paged KV cache in float32, rounded as the type that is asked for would round it."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from outpace.errors import UnsupportedError
from outpace.graph.step import PAGE

Array: TypeAlias = NDArray[np.float32]

# What the reference stores KV as; f32 keeps every bit, for comparison with other implementations.
KV_ROUNDING = ("f16", "q8_0", "f32")


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
        if self._kv_type == "f32":
            return x
        return x.astype(np.float16).astype(np.float32) if self._kv_type == "f16" else round_q8_0(x)


def round_q8_0(x: Array) -> Array:
    """Round values to what q8_0 can hold: blocks of 32 along the last dimension, an f16 scale of max/127 each."""
    width = x.shape[-1]
    padded = np.zeros((*x.shape[:-1], -(-width // 32) * 32), np.float32)
    padded[..., :width] = x
    blocks = padded.reshape(*x.shape[:-1], -1, 32)
    scale = np.abs(blocks).max(axis=-1, keepdims=True) / np.float32(127)
    steps = np.rint(blocks / np.where(scale > 0, scale, np.float32(1)))
    rounded = steps * scale.astype(np.float16).astype(np.float32)
    result: Array = rounded.reshape(padded.shape)[..., :width]
    return result
