"""Quantised blocks to float32 and back in numpy: the slow twin that every fast kernel is tested against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outpace.errors import UnsupportedError
from outpace.gguf import kquants, rounding
from outpace.gguf.blocks import Bytes, Floats, f16, nibbles, values
from outpace.gguf.types import BLOCK, GGMLType, row_bytes

_CHUNK_ELEMENTS = 1 << 18  # worked on at a time, so that temporary arrays stay in cache and small

_E2M1 = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)  # doubled
_NONLINEAR = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)


def _numbers(dtype: str) -> Callable[[Bytes], Floats]:
    return lambda b: values(b, dtype).astype(np.float32)


def _bf16(b: Bytes) -> Floats:
    return (values(b, "<u2").astype(np.uint32) << 16).view(np.float32)


def _q8_0(b: Bytes) -> Floats:
    return f16(b[:, :2]) * b[:, 2:].view(np.int8)


def _q8_1(b: Bytes) -> Floats:
    return f16(b[:, :2]) * b[:, 4:].view(np.int8)


def _q8_k(b: Bytes) -> Floats:
    return values(b[:, :4], "<f4") * b[:, 4:260].view(np.int8)


def _q4_0(b: Bytes) -> Floats:
    return f16(b[:, :2]) * (nibbles(b[:, 2:]).astype(np.float32) - 8)


def _q4_1(b: Bytes) -> Floats:
    return f16(b[:, :2]) * nibbles(b[:, 4:]).astype(np.float32) + f16(b[:, 2:4])


def _fifth_bits(b: Bytes) -> Bytes:
    """Return bit i of a 32-bit field as element i, worth 16."""
    return np.unpackbits(b, axis=1, bitorder="little") << np.uint8(4)


def _q5_0(b: Bytes) -> Floats:
    return f16(b[:, :2]) * ((nibbles(b[:, 6:]) | _fifth_bits(b[:, 2:6])).astype(np.float32) - 16)


def _q5_1(b: Bytes) -> Floats:
    return f16(b[:, :2]) * (nibbles(b[:, 8:]) | _fifth_bits(b[:, 4:8])).astype(np.float32) + f16(b[:, 2:4])


def _iq4_nl(b: Bytes) -> Floats:
    return f16(b[:, :2]) * _NONLINEAR[nibbles(b[:, 2:])]


def _iq4_xs(b: Bytes) -> Floats:
    high = (values(b[:, 2:4], "<u2") >> np.arange(0, 16, 2, dtype=np.uint16)) & 3
    low = np.stack([b[:, 4:8] & 15, b[:, 4:8] >> 4], axis=2).reshape(-1, 8)
    scale: Floats = f16(b[:, :2]) * ((low | high << 4).astype(np.float32) - 32)
    return (scale[:, :, None] * _NONLINEAR[nibbles(b[:, 8:].reshape(-1, 8, 16))]).reshape(-1, 256)


def _mxfp4(b: Bytes) -> Floats:
    scale = np.ldexp(np.float32(1), b[:, :1].astype(np.int32) - 128)  # 2^(e-127), halved: the table is doubled
    x: Floats = scale * _E2M1[nibbles(b[:, 1:])]
    return x


def _nvfp4(b: Bytes) -> Floats:
    raw = b[:, :4].astype(np.int32)  # unsigned E4M3, a scale for each 16 elements
    exponent, mantissa = raw >> 3 & 15, (raw & 7).astype(np.float32)
    scale = np.where(exponent == 0, np.ldexp(mantissa, -10), np.ldexp(mantissa + 8, exponent - 11))
    scale = np.where((raw == 0) | (raw == 0x7F), np.float32(0), scale.astype(np.float32))
    return (scale[:, :, None] * _E2M1[nibbles(b[:, 4:].reshape(-1, 4, 8))]).reshape(-1, 64)


def _tq1_0(b: Bytes) -> Floats:
    # A byte is a fraction of 256 in base 3; multiplying by 3^n brings digit n to the top.
    digits = [
        (b[:, None, start:stop] * np.array([1, 3, 9, 27, 81], np.uint8)[:n, None]).reshape(len(b), -1)
        for start, stop, n in ((0, 32, 5), (32, 48, 5), (48, 52, 4))
    ]
    trits = (np.concatenate(digits, axis=1).astype(np.uint16) * 3) >> 8
    return f16(b[:, 52:]) * (trits.astype(np.float32) - 1)


def _tq2_0(b: Bytes) -> Floats:
    pairs = b[:, :64].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None] & 3
    return f16(b[:, 64:]) * (pairs.reshape(-1, 256).astype(np.float32) - 1)


_DEQUANTIZE: MappingProxyType[GGMLType, Callable[[Bytes], Floats]] = MappingProxyType(
    {
        GGMLType.F32: _numbers("<f4"),
        GGMLType.F16: _numbers("<f2"),
        GGMLType.F64: _numbers("<f8"),
        GGMLType.I8: _numbers("<i1"),
        GGMLType.I16: _numbers("<i2"),
        GGMLType.I32: _numbers("<i4"),
        GGMLType.I64: _numbers("<i8"),
        GGMLType.BF16: _bf16,
        GGMLType.Q4_0: _q4_0,
        GGMLType.Q4_1: _q4_1,
        GGMLType.Q5_0: _q5_0,
        GGMLType.Q5_1: _q5_1,
        GGMLType.Q8_0: _q8_0,
        GGMLType.Q8_1: _q8_1,
        GGMLType.Q8_K: _q8_k,
        GGMLType.Q2_K: kquants.q2_k,
        GGMLType.Q3_K: kquants.q3_k,
        GGMLType.Q4_K: kquants.q4_k,
        GGMLType.Q5_K: kquants.q5_k,
        GGMLType.Q6_K: kquants.q6_k,
        GGMLType.IQ4_NL: _iq4_nl,
        GGMLType.IQ4_XS: _iq4_xs,
        GGMLType.TQ1_0: _tq1_0,
        GGMLType.TQ2_0: _tq2_0,
        GGMLType.MXFP4: _mxfp4,
        GGMLType.NVFP4: _nvfp4,
    }
)
DEQUANTIZABLE = frozenset(_DEQUANTIZE)

_QUANTIZE: MappingProxyType[GGMLType, Callable[[Floats], Bytes]] = MappingProxyType(
    {
        GGMLType.F32: rounding.f32,
        GGMLType.F16: rounding.f16,
        GGMLType.BF16: rounding.bf16,
        GGMLType.Q4_0: rounding.q4_0,
        GGMLType.Q4_1: rounding.q4_1,
        GGMLType.Q5_0: rounding.q5_0,
        GGMLType.Q5_1: rounding.q5_1,
        GGMLType.Q8_0: rounding.q8_0,
        GGMLType.Q4_K: rounding.q4_k,
        GGMLType.Q5_K: rounding.q5_k,
        GGMLType.Q6_K: rounding.q6_k,
    }
)
QUANTIZABLE = frozenset(_QUANTIZE)


def dequantize(raw: NDArray[np.uint8], kind: GGMLType, shape: Sequence[int]) -> Floats:
    """Return a tensor's values.

    Args:
        raw: Its bytes, [n_bytes], as `GGUFFile.data` gives them; or the bytes of some whole rows of it.
        kind: Element type.
        shape: Sizes, outermost first, of the tensor or of those rows.

    Returns:
        float32 of that shape, a new array; scales multiply in float32.

    Raises:
        UnsupportedError: The type has no dequantiser; lists those that have.
        ValueError: The bytes are not those of this type and shape.

    Source: the block layouts of ggml.
    """
    if kind not in _DEQUANTIZE:
        raise UnsupportedError("reading tensors of type", kind.name, sorted(each.name for each in DEQUANTIZABLE))
    raw, n_bytes = np.asarray(raw, np.uint8).reshape(-1), _bytes_of(kind, shape)
    if raw.size != n_bytes:
        raise ValueError(f"{kind.name} of shape {tuple(shape)} has {n_bytes} bytes, {raw.size} given")
    block = BLOCK[kind]
    blocks = raw.reshape(-1, block.n_bytes)
    out = np.empty((len(blocks), block.size), np.float32)
    step = _CHUNK_ELEMENTS // block.size
    with np.errstate(all="ignore"):  # hostile scales may be infinite or NaN: so are the values then
        for at in range(0, len(blocks), step):
            out[at : at + step] = _DEQUANTIZE[kind](blocks[at : at + step])
    return out.reshape(shape)


def quantize(x: NDArray[Any], kind: GGMLType) -> NDArray[np.uint8]:
    """Return values rounded to a type: plain rounding to the nearest step, no search for better scales.

    Args:
        x: Finite values of any shape; the last axis is whole blocks.
        kind: Element type.

    Returns:
        uint8 [n_bytes], as a file holds them.

    Raises:
        UnsupportedError: The type has no quantiser; lists those that have.
        ValueError: Rows are not whole blocks.
    """
    if kind not in _QUANTIZE:
        raise UnsupportedError("writing tensors of type", kind.name, sorted(each.name for each in QUANTIZABLE))
    x = np.asarray(x, np.float32)
    out = np.empty((_bytes_of(kind, x.shape) // BLOCK[kind].n_bytes, BLOCK[kind].n_bytes), np.uint8)
    blocks = x.reshape(-1, BLOCK[kind].size)
    step = _CHUNK_ELEMENTS // BLOCK[kind].size
    for at in range(0, len(blocks), step):
        out[at : at + step] = _QUANTIZE[kind](blocks[at : at + step])
    return out.reshape(-1)


def _bytes_of(kind: GGMLType, shape: Sequence[int]) -> int:
    n = row_bytes(kind, shape[-1] if shape else 1)
    for size in shape[:-1]:
        n *= size
    return n
