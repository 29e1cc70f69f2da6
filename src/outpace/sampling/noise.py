"""Gumbel noise that is a pure function of (seed, position, token id).

Generator: Philox 4x32-10. Its key is the seed; its counter is (block, position low, position high, 0), and each
block holds four 32-bit words. Token v reads word (v >> 4) & 3 of block (v >> 6) * 16 + (v & 15): sixteen lanes
that run one block each then yield the 64 tokens of a chunk in order, and no value depends on which others are wanted.

From a word x to noise: k = x >> 1 stands for the uniform w = (k + 1/2) / 2^31, whose complement 1 - w is
(2^31 - 1 - k + 1/2) / 2^31, so neither is ever 0. The noise is g = -log(-log(1 - w)), from -3.1 to 22.2. Large g,
which is what wins an argmax, comes from small w, where float32 has bits to spare: steps of 2^-31, not 2^-24.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011); Gumbel-max: Maddison et al. 2014.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from outpace.sampling.polynomials import F32, SQRT_HALF, log_of, split

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = 0xFFFFFFFF


def philox(counter: Sequence[NDArray[np.uint32]], key: tuple[int, int]) -> tuple[NDArray[np.uint32], ...]:
    """Run Philox 4x32-10 on [N] counters of four words with one key of two; returns four words of [N]."""
    c0, c1, c2, c3 = (np.asarray(c, np.uint32) for c in counter)
    k0, k1 = key
    for _ in range(10):
        a, b = c0.astype(np.uint64) * _M0, c2.astype(np.uint64) * _M1
        c0, c1, c2, c3 = (
            (b >> np.uint64(32)).astype(np.uint32) ^ c1 ^ np.uint32(k0),
            b.astype(np.uint32),
            (a >> np.uint64(32)).astype(np.uint32) ^ c3 ^ np.uint32(k1),
            a.astype(np.uint32),
        )
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


def gumbel_of(words: NDArray[np.uint32]) -> F32:
    """Turn 32-bit words [N] into standard Gumbel noise [N], one for one."""
    k = (words >> np.uint32(1)).view(np.int32)
    half, scale = np.float32(0.5), np.float32(2.0**-31)
    w = (k.astype(np.float32) + half) * scale
    complement = ((np.int32(0x7FFFFFFF) - k).astype(np.float32) + half) * scale
    t, e = split(complement)
    # Near 1 the complement has lost w's low bits: take them from w itself.
    near_one = complement >= SQRT_HALF
    exponential = -log_of(np.where(near_one, -w, t), np.where(near_one, np.float32(0), e))
    return -log_of(*split(exponential))


def gumbel(seed: int, position: int, ids: NDArray[np.integer]) -> F32:
    """Return the noise of the tokens `ids` [N] at a position of the text, as float32 [N].

    Args:
        seed: the request's seed, 0 to 2^64 - 1.
        position: index of the token being chosen, 0 to 2^64 - 1.
        ids: token ids, in any order, any subset of the vocabulary.
    """
    v = np.asarray(ids).astype(np.uint32)
    block = ((v >> np.uint32(6)) << np.uint32(4)) | (v & np.uint32(15))
    counter = [np.full_like(v, word) for word in (position & _LOW, position >> 32, 0)]
    words = np.stack(philox([block, *counter], (seed & _LOW, seed >> 32)))
    return gumbel_of(np.take_along_axis(words, ((v >> np.uint32(4)) & np.uint32(3))[None].astype(np.intp), 0)[0])
