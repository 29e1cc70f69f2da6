"""The linear kernels: against numpy on every tier, type and width; the same bits for a row whatever its company."""

import numpy as np
import pytest
from tests.support.program import linear, quantized, random_matrix

from outpace import _native
from outpace.gguf.quants import dequantize, quantize
from outpace.gguf.types import GGMLType

TIERS = _native.supported_tiers()
PLAIN = (GGMLType.F32, GGMLType.F16, GGMLType.BF16)
SMALL = (GGMLType.Q4_0, GGMLType.Q4_1, GGMLType.Q5_0, GGMLType.Q5_1, GGMLType.Q8_0)
SUPER = (GGMLType.Q4_K, GGMLType.Q5_K, GGMLType.Q6_K)
TYPES = PLAIN + SMALL + SUPER
TAKEN = GGMLType.Q4_0


def case(kind, seed=0, n=40, t=19):
    rng = np.random.default_rng(seed)
    k = 512 if kind in SUPER else 96 if kind in SMALL else 75
    raw, w = random_matrix(rng, kind, n, k)
    x = rng.standard_normal((t, k)).astype(np.float32) * 3
    x[1::3, 32:64] *= 20  # in some rows a block far above the others: those have 16 bits
    x[t - 1, :32] *= 15
    return raw, w, (n, k), x


def expected(kind, w, x):
    """Return the product in float64 of the weights and of the activations as the kernels round them."""
    if kind in PLAIN:
        return x.astype(np.float64) @ w.T.astype(np.float64)
    q, d = quantized(x)
    rounded = q * d[..., None]
    return rounded.reshape(x.shape) @ w.T.astype(np.float64)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_a_product_is_the_sum_of_its_parts(tier, kind):
    raw, w, shape, x = case(kind)
    found = linear(tier, kind, raw, shape, x)
    np.testing.assert_allclose(found, expected(kind, w, x), rtol=2e-5, atol=5e-5)


@pytest.mark.parametrize("kind", SMALL + SUPER, ids=lambda kind: kind.name)
def test_one_large_block_is_rounded_no_coarser_than_the_others(kind):
    rng = np.random.default_rng(4)
    raw, w = random_matrix(rng, kind, 40, 512)
    x = rng.standard_normal((1, 512)).astype(np.float32)
    errors = []
    for factor in (1, 30):
        x[0, 32:64] *= factor
        exact = x.astype(np.float64) @ w.T.astype(np.float64)
        errors.append(np.abs(linear(TIERS[0], kind, raw, (40, 512), x) - exact).max())
    plain, error = errors
    assert error < 2 * plain


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_a_row_has_the_same_bits_in_any_company(tier, kind):
    raw, _, shape, x = case(kind, seed=1)
    alone = np.concatenate([linear(tier, kind, raw, shape, x[i : i + 1]) for i in range(len(x))])
    for width in range(1, len(x) + 1):
        found = linear(tier, kind, raw, shape, x[:width], threads=1 + width % 2)
        assert np.array_equal(found, alone[:width]), f"width {width}"


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_all_tiers_give_the_same_bits(kind):
    raw, _, shape, x = case(kind, seed=2, t=9)
    first = linear(TIERS[0], kind, raw, shape, x)
    for tier in TIERS[1:]:
        assert np.array_equal(linear(tier, kind, raw, shape, x), first), tier


@pytest.mark.parametrize("tier", TIERS)
def test_bias_and_residual_are_added_as_the_product_is_stored(tier):
    raw, _, shape, x = case(GGMLType.Q8_0, n=23, t=3)
    rng = np.random.default_rng(3)
    bias, residual = rng.standard_normal(23).astype(np.float32), rng.standard_normal((3, 23)).astype(np.float32)
    plain = linear(tier, GGMLType.Q8_0, raw, shape, x)
    found = linear(tier, GGMLType.Q8_0, raw, shape, x, bias=bias, residual=residual)
    assert np.array_equal(found, residual + (plain + bias))


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_extreme_weights_do_not_overflow_integer_sums(tier, kind):
    """Largest codes against largest activations: the sums that would saturate 16 bits."""
    k = 512 if kind in SUPER else 64
    w = np.full((16, k), 1.0, np.float32) * np.where(np.arange(16) % 2, 1, -1)[:, None].astype(np.float32)
    raw = np.ascontiguousarray(quantize(w, kind)).reshape(-1).view(np.uint8)
    if kind is GGMLType.Q8_0:  # a hostile file may hold -128, which no quantiser writes
        raw = raw.copy()
        raw.reshape(-1, 34)[:, 2:] = 0x80
    w = dequantize(raw, kind, (16, k))
    x = np.tile(np.float32([1, 1, -1, 1]), (2, k // 4)) * np.float32(1)
    np.testing.assert_allclose(linear(tier, kind, raw, (16, k), x), expected(kind, w, x), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("tier", TIERS)
def test_nan_and_infinity_stay_in_their_row(tier):
    raw, _, shape, x = case(GGMLType.Q4_0, t=4)
    clean = linear(tier, GGMLType.Q4_0, raw, shape, x)
    x[1, 5], x[2, 7] = np.nan, np.inf
    found = linear(tier, GGMLType.Q4_0, raw, shape, x)
    assert np.array_equal(found[[0, 3]], clean[[0, 3]])


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_packing_keeps_every_value(kind):
    raw, w, (n, k), _ = case(kind, n=33)
    arena = _native.WeightArena(TIERS[0], _native.Pool(2), _native.packed_bytes(TIERS[0], int(kind), n, k))
    weight = arena.pack(int(kind), n, k, raw)
    found = np.array([arena.unpack_row(weight, row) for row in range(n)], np.float32)
    np.testing.assert_allclose(found, w, rtol=1e-6, atol=1e-7)


def test_a_type_or_width_without_a_kernel_is_refused():
    assert _native.packed_bytes(TIERS[0], int(GGMLType.Q2_K), 16, 256) == 0
    assert _native.packed_bytes(TIERS[0], int(GGMLType.Q4_K), 16, 128) == 0
    arena = _native.WeightArena(TIERS[0], _native.Pool(1), 64)
    with pytest.raises(ValueError, match="no kernel"):
        arena.pack(int(GGMLType.Q2_K), 1, 256, np.zeros(84, np.uint8))
    with pytest.raises(ValueError, match="full"):
        arena.pack(int(GGMLType.F32), 16, 16, np.zeros(1024, np.uint8))
    with pytest.raises(ValueError, match="whole number"):
        arena.pack(int(GGMLType.F32), 3, 16, np.zeros(100, np.uint8))


def test_unknown_tiers_are_refused():
    with pytest.raises(ValueError, match="no kernel tier"):
        _native.packed_bytes("sse9", 0, 1, 1)


@pytest.mark.parametrize("kind", [GGMLType.Q8_0, GGMLType.Q6_K, GGMLType.F16], ids=lambda kind: kind.name)
def test_rows_taken_from_another_matrix_are_those_rows_in_four_bits(kind):
    rng = np.random.default_rng(9)
    raw, w = random_matrix(rng, kind, 100, 256)
    n_bytes = sum(_native.packed_bytes(TIERS[0], int(each), rows, 256) for each, rows in ((kind, 100), (TAKEN, 70)))
    arena = _native.WeightArena(TIERS[0], _native.Pool(2), n_bytes)
    source, target = arena.pack(int(kind), 100, 256, raw), arena.reserve(int(TAKEN), 70, 256)
    ids = rng.integers(0, 100, 70).tolist()
    arena.take_rows(target, 0, source, ids)
    for at, row in ((3, 99), (69, 5), (16, 7)):
        arena.take_rows(target, at, source, [row])
        ids[at] = row
    found = np.array([arena.unpack_row(target, i) for i in range(70)], np.float32)
    rounded = np.ascontiguousarray(quantize(w[ids], TAKEN)).reshape(-1).view(np.uint8)
    np.testing.assert_array_equal(found, dequantize(rounded, TAKEN, (70, 256)))
    for at, rows in ((70, [1]), (-1, [1]), (0, [100])):
        with pytest.raises(ValueError, match="out of range"):
            arena.take_rows(target, at, source, rows)
