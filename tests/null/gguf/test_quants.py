"""Dequantisers against gguf-py on random blocks and one block of each kind worked out by hand."""

import gguf
import numpy as np
import pytest

from outpace.errors import UnsupportedError
from outpace.gguf.quants import DEQUANTIZABLE, QUANTIZABLE, dequantize, quantize
from outpace.gguf.types import BLOCK, GGMLType, row_bytes

HALF_ONE, HALF_TWO = b"\x00\x3c", b"\x00\x40"  # 1.0 and 2.0 in half precision


def oracle_has(kind):
    try:
        gguf.quants.dequantize(np.zeros((1, BLOCK[kind].n_bytes), np.uint8), gguf.GGMLQuantizationType(kind))
    except NotImplementedError:
        return False
    return True


@pytest.mark.parametrize("kind", sorted(GGMLType), ids=lambda kind: kind.name)
def test_block_sizes_are_those_of_gguf_py(kind):
    if kind is GGMLType.Q8_1:
        pytest.skip("gguf-py gives the size it had before its fields became half precision; it is never in a file")
    if kind not in list(gguf.GGMLQuantizationType):
        pytest.skip("this gguf-py does not know it")
    assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)] == (BLOCK[kind].size, BLOCK[kind].n_bytes)


@pytest.mark.parametrize("kind", sorted(DEQUANTIZABLE), ids=lambda kind: kind.name)
def test_the_same_bits_as_gguf_py(kind):
    if not oracle_has(kind):
        pytest.skip("gguf-py has no dequantiser for it")
    raw = np.random.default_rng(kind).integers(0, 256, (600, BLOCK[kind].n_bytes), np.uint8)
    with np.errstate(all="ignore"):
        expected = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(kind)).astype(np.float32)
    found = dequantize(raw.reshape(-1), kind, (600, BLOCK[kind].size))
    is_same = (found.view(np.uint32) == expected.reshape(found.shape).view(np.uint32)) | np.isnan(found) & np.isnan(
        expected.reshape(found.shape)
    )
    assert is_same.all()


# One block each: bytes, and the elements that are not zero (or all of them), from the layout on paper.
BY_HAND = {
    GGMLType.F32: (b"\x00\x00\x20\x41", [10.0]),
    GGMLType.F16: (b"\x00\xc2", [-3.0]),
    GGMLType.BF16: (b"\x40\xc0", [-3.0]),
    GGMLType.F64: (b"\x00\x00\x00\x00\x00\x00\x24\x40", [10.0]),
    GGMLType.I8: (b"\xfe", [-2.0]),
    GGMLType.I16: (b"\xfe\xff", [-2.0]),
    GGMLType.I32: (b"\x07\x00\x00\x00", [7.0]),
    GGMLType.I64: (b"\xff" * 8, [-1.0]),
    GGMLType.Q8_0: (HALF_TWO + b"\x01\xff" + bytes(30), [2.0, -2.0] + [0.0] * 30),
    GGMLType.Q8_1: (HALF_TWO + HALF_ONE + b"\x01\xff" + bytes(30), [2.0, -2.0] + [0.0] * 30),
    GGMLType.Q8_K: (b"\x00\x00\x00\x40\x03" + bytes(255) + b"\x09" * 32, [6.0] + [0.0] * 255),
    # low half 9, high half 0: elements 0 and 16
    GGMLType.Q4_0: (HALF_TWO + b"\x09" + b"\x88" * 15, [2.0] + [0.0] * 15 + [-16.0] + [0.0] * 15),
    GGMLType.Q4_1: (HALF_TWO + HALF_ONE + b"\x39" + bytes(15), [19.0] + [1.0] * 15 + [7.0] + [1.0] * 15),
    # fifth bits of elements 0 and 17 set; all others 0 - 16
    GGMLType.Q5_0: (
        HALF_ONE + b"\x01\x00\x02\x00" + b"\x05" + bytes(15),
        [5.0] + [-16.0] * 16 + [0.0] + [-16.0] * 14,
    ),
    GGMLType.Q5_1: (HALF_ONE + HALF_TWO + b"\x01\x00\x02\x00" + bytes(16), [18.0] + [2.0] * 16 + [18.0] + [2.0] * 14),
    # group 0: scale 3, min 1; first byte holds 3 for element 0, 2 for 32, 1 for 64, 0 for 96
    GGMLType.Q2_K: (
        b"\x13" + bytes(15) + b"\x1b" + bytes(63) + HALF_TWO + HALF_ONE,
        [17.0] + [-1.0] * 15 + [0.0] * 240,
    ),
    # scale of group 0 is 33 - 32 = 1, the others 0 - 32; third bits set, so q is 4 - 4, but element 0: (3 | 4) - 4
    GGMLType.Q3_K: (
        b"\xff" * 32 + b"\x03" + bytes(63) + b"\x01" + bytes(7) + b"\x02" + bytes(3) + HALF_ONE,
        [3.0] + [0.0] * 255,
    ),
    # group 0: scale 2, min 3; group 4: scale 0x21 = 33 (low half 1, high bits of byte 0), min 0
    GGMLType.Q4_K: (
        HALF_TWO
        + HALF_ONE
        + b"\x82\x00\x00\x00\x03\x00\x00\x00\x01\x00\x00\x00"
        + b"\x05"
        + bytes(63)
        + b"\x01"
        + bytes(63),
        [17.0] + [-3.0] * 31 + [0.0] * 96 + [66.0] + [0.0] * 127,
    ),
    GGMLType.Q5_K: (
        HALF_TWO + HALF_ONE + b"\x02\x00\x00\x00\x03" + bytes(7) + b"\x01" + bytes(31) + b"\x05" + bytes(127),
        [81.0] + [-3.0] * 31 + [0.0] * 224,
    ),
    # scale of group 0 is -1: element 0 has low 5, high 3 -> 53 - 32, the rest of the group -32
    GGMLType.Q6_K: (
        b"\x05" + bytes(127) + b"\x03" + bytes(63) + b"\xff" + bytes(15) + HALF_TWO,
        [-42.0] + [64.0] * 15 + [0.0] * 240,
    ),
    GGMLType.IQ4_NL: (HALF_TWO + b"\xf0" + b"\x88" * 15, [-254.0] + [2.0] * 15 + [226.0] + [2.0] * 15),
    # scale of group 0 is (1 | 2 << 4) - 32 = 1; all others (0 | 2 << 4) - 32 = 0
    GGMLType.IQ4_XS: (
        HALF_TWO + b"\xaa\xaa" + b"\x01\x00\x00\x00" + b"\xf0" + b"\x88" * 127,
        [-254.0] + [2.0] * 15 + [226.0] + [2.0] * 15 + [0.0] * 224,
    ),
    # 255 * 3 >> 8 is 2 in every digit of base 3: all ones; 0 is all minus ones; 128 is near one half: 1, then 1, 1, ...
    GGMLType.TQ1_0: (b"\xff" * 52 + HALF_TWO, [2.0] * 256),
    GGMLType.TQ2_0: (b"\x56" + b"\x55" * 63 + HALF_TWO, [2.0] + [0.0] * 255),
    # exponent 128 is 2^1; the halves are of +0.5 (1) and -6 (15)
    GGMLType.MXFP4: (b"\x80\xf1" + bytes(15), [1.0] + [0.0] * 15 + [-12.0] + [0.0] * 15),
    # scale 0x40 is E4M3 for 2: exponent 8 - 7, mantissa 0
    GGMLType.NVFP4: (b"\x40\x00\x00\x00\xf1" + bytes(31), [1.0] + [0.0] * 7 + [-12.0] + [0.0] * 55),
}


@pytest.mark.parametrize("kind", sorted(DEQUANTIZABLE), ids=lambda kind: kind.name)
def test_a_block_worked_out_by_hand(kind):
    raw, expected = BY_HAND[kind]
    assert dequantize(np.frombuffer(raw, np.uint8), kind, (BLOCK[kind].size,)).tolist() == expected


# Largest error as a share of the block's largest magnitude, from the number of steps.
WORST = {
    GGMLType.F32: 0,
    GGMLType.F16: 2**-11,
    GGMLType.BF16: 2**-8,
    GGMLType.Q8_0: 0.6 / 127,
    GGMLType.Q4_0: 1.01 / 8,
    GGMLType.Q4_1: 0.51 * 2 / 15,
    GGMLType.Q5_0: 1.01 / 16,
    GGMLType.Q5_1: 0.51 * 2 / 31,
    GGMLType.Q4_K: 0.55 * 2 / 15 + 2 / 126,
    GGMLType.Q5_K: 0.55 * 2 / 31 + 2 / 126,
    GGMLType.Q6_K: 1 / 32 + 1 / 64,
}


@pytest.mark.parametrize("kind", sorted(QUANTIZABLE), ids=lambda kind: kind.name)
def test_rounding_stays_within_a_step(kind):
    rng = np.random.default_rng(kind)
    x = rng.standard_normal((200, 512), np.float32) * np.float32(10) ** rng.integers(-1, 3, (200, 1)).astype(np.float32)
    raw = quantize(x, kind)
    assert raw.shape == (200 * row_bytes(kind, 512),)
    y = dequantize(raw, kind, x.shape)
    size = BLOCK[kind].size
    error = np.abs(y - x).reshape(-1, size).max(axis=1)
    assert (error <= WORST[kind] * np.abs(x).reshape(-1, size).max(axis=1) + 2**-24).all()
    assert not np.asarray(dequantize(quantize(x * 0, kind), kind, x.shape)).any()
    for steady in (0.0, 1.5, -1.5):
        flat = np.full((1, 256), steady, np.float32)
        assert np.allclose(dequantize(quantize(flat, kind), kind, flat.shape), flat, rtol=0.02)


OF_32 = [GGMLType.Q4_0, GGMLType.Q4_1, GGMLType.Q5_0, GGMLType.Q5_1, GGMLType.Q8_0]


@pytest.mark.parametrize("kind", OF_32, ids=lambda kind: kind.name)
def test_the_types_of_32_round_to_the_same_bits_as_gguf_py(kind):
    rng = np.random.default_rng(kind)
    x = rng.standard_normal((2000, 256), np.float32) * np.float32(10) ** rng.integers(-6, 3, (2000, 1)).astype(
        np.float32
    )
    x[:40] = np.round(x[:40] * 4)  # halves, which one may round to either side
    x[40:60], x[60] = 0, 1.5
    expected = gguf.quants.quantize(x, gguf.GGMLQuantizationType(kind)).reshape(-1)
    assert np.array_equal(quantize(x, kind), expected)


@pytest.mark.parametrize("kind", OF_32, ids=lambda kind: kind.name)
def test_of_two_values_that_are_as_large_the_first_counts_and_none_is_written_over(kind):
    x = np.random.default_rng(kind).integers(-3, 4, (500, 64)).astype(np.float32)
    given = x.copy()
    expected = gguf.quants.quantize(x, gguf.GGMLQuantizationType(kind)).reshape(-1)
    assert np.array_equal(quantize(x, kind), expected)
    # One block by itself is a column already: what was given stays as it was.
    assert np.array_equal(quantize(x[:1, :32], kind), expected[: row_bytes(kind, 32)])
    assert np.array_equal(x, given)


@pytest.mark.parametrize("kind", [GGMLType.Q4_K, GGMLType.Q5_K, GGMLType.Q6_K], ids=lambda kind: kind.name)
def test_k_types_lose_no_more_than_their_size_promises(kind):
    x = np.random.default_rng(0).standard_normal((64, 1024), np.float32)
    error = np.sqrt(np.mean((dequantize(quantize(x, kind), kind, x.shape) - x) ** 2))
    assert error < {GGMLType.Q4_K: 0.09, GGMLType.Q5_K: 0.045, GGMLType.Q6_K: 0.022}[kind]


def test_rounding_to_bf16_and_f16_is_to_nearest_even():
    x = np.array([1 + 2**-8, 1 + 3 * 2**-8, np.nan, np.inf, -0.0], np.float32)
    y = dequantize(quantize(x, GGMLType.BF16), GGMLType.BF16, x.shape)
    assert np.array_equal(y, np.array([1, 1 + 2**-6, np.nan, np.inf, -0.0], np.float32), equal_nan=True)
    assert np.isinf(dequantize(quantize(np.array([1e6]), GGMLType.F16), GGMLType.F16, (1,))).all()


def test_shapes_and_types_are_checked():
    with pytest.raises(ValueError, match=r"Q4_0 of shape \(2, 32\) has 36 bytes, 18 given"):
        dequantize(np.zeros(18, np.uint8), GGMLType.Q4_0, (2, 32))
    with pytest.raises(ValueError, match="a row of 33 elements is not a whole number of Q4_0 blocks of 32"):
        quantize(np.zeros((2, 33)), GGMLType.Q4_0)
    with pytest.raises(UnsupportedError, match=r"reading tensors of type 'IQ1_S' is not supported.*Q4_0"):
        dequantize(np.zeros(50, np.uint8), GGMLType.IQ1_S, (256,))
    with pytest.raises(UnsupportedError, match=r"writing tensors of type 'Q2_K' is not supported.*Q4_0"):
        quantize(np.zeros(256), GGMLType.Q2_K)


def test_many_rows_are_worked_on_in_pieces_and_come_out_in_order():
    raw = np.random.default_rng(0).integers(0, 120, (20_000, 34), np.uint8)
    whole = dequantize(raw, GGMLType.Q8_0, (20_000, 32))
    assert np.array_equal(whole[[0, 9_000, 19_999]], dequantize(raw[[0, 9_000, 19_999]], GGMLType.Q8_0, (3, 32)))
