"""Dequantisers of the K types: super-blocks of 256 with small scales inside. Source: the block layouts of ggml."""

from __future__ import annotations

import numpy as np

from outpace.gguf.blocks import Bytes, Floats, f16, nibbles

_EACH_PAIR = np.array([0, 2, 4, 6], np.uint8)[:, None]
_FOUR, _ONE_BIT, _TWO_BITS = np.uint8(4), np.uint8(1), np.uint8(3)
_EACH_BIT = np.arange(8, dtype=np.uint8)[:, None]


def _pairs(b: Bytes) -> Bytes:
    """Return the four 2-bit fields of bytes [..., w], lowest first: [..., 4, w]."""
    return b[..., None, :] >> _EACH_PAIR & _TWO_BITS


def scales_and_mins(b: Bytes) -> tuple[Bytes, Bytes]:
    """Return the 6-bit scales and mins, [n, 8] each, packed in 12 bytes [n, 12].

    Bytes 0-3 hold scales 0-3, bytes 4-7 mins 0-3 (6 bits each); bytes 8-11 hold the low halves of scales 4-7 and of
    mins 4-7, whose two high bits sit on top of bytes 0-3 and 4-7.
    """
    low_scale, low_min, rest = b[:, :4], b[:, 4:8], b[:, 8:]
    scales = np.concatenate([low_scale & 63, rest & 15 | low_scale >> 6 << 4], axis=1)
    mins = np.concatenate([low_min & 63, rest >> 4 | low_min >> 6 << 4], axis=1)
    return scales, mins


def q2_k(b: Bytes) -> Floats:
    """Q2_K [n, 84] -> [n, 256]: 16 groups of 16 with 4-bit scale and min."""
    scale = f16(b[:, 80:82]) * (b[:, :16] & 15).astype(np.float32)
    least = f16(b[:, 82:84]) * (b[:, :16] >> 4).astype(np.float32)
    q = _pairs(b[:, 16:80].reshape(-1, 2, 32)).reshape(-1, 16, 16).astype(np.float32)
    return (scale[:, :, None] * q - least[:, :, None]).reshape(-1, 256)


def q3_k(b: Bytes) -> Floats:
    """Q3_K [n, 110] -> [n, 256]: 16 groups of 16 with 6-bit scale; the third bits are stored apart."""
    low = nibbles(b[:, 96:104])
    high = _pairs(b[:, 104:108]).reshape(-1, 16)
    scale = f16(b[:, 108:]) * ((low | high << 4).astype(np.float32) - 32)
    third = b[:, None, :32] >> _EACH_BIT & 1
    q = _pairs(b[:, 32:96].reshape(-1, 2, 32)).reshape(-1, 8, 32) | third << 2
    return (scale[:, :, None] * (q.reshape(-1, 16, 16).astype(np.float32) - 4)).reshape(-1, 256)


def q4_k(b: Bytes) -> Floats:
    """Q4_K [n, 144] -> [n, 256]: 8 groups of 32 with 6-bit scale and min."""
    return _scale_and_shift(b, nibbles(b[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32))


def q5_k(b: Bytes) -> Floats:
    """Q5_K [n, 176] -> [n, 256]: as Q4_K, with the fifth bits of group g in bit g of 32 bytes."""
    fifth: Bytes = b[:, None, 16:48] >> _EACH_BIT & _ONE_BIT
    return _scale_and_shift(b, nibbles(b[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32) | fifth << _FOUR)


def q6_k(b: Bytes) -> Floats:
    """Q6_K [n, 210] -> [n, 256]: 16 groups of 16 with int8 scale; four low and two high bits apart."""
    scale = f16(b[:, 208:]) * b[:, 192:208].view(np.int8).astype(np.float32)
    low = nibbles(b[:, :128].reshape(-1, 2, 64)).reshape(-1, 2, 4, 32)
    q = low | _pairs(b[:, 128:192].reshape(-1, 2, 32)) << 4
    return (scale[:, :, None] * (q.reshape(-1, 16, 16).astype(np.float32) - 32)).reshape(-1, 256)


def _scale_and_shift(b: Bytes, q: Bytes) -> Floats:
    scales, mins = scales_and_mins(b[:, 4:16])
    scale, least = f16(b[:, :2]) * scales.astype(np.float32), f16(b[:, 2:4]) * mins.astype(np.float32)
    return (scale[:, :, None] * q.astype(np.float32) - least[:, :, None]).reshape(-1, 256)
