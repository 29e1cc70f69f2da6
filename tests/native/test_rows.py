"""Row-wise verbs: against numpy in float64 at every length, and the same bits on every tier."""

import numpy as np
import pytest
from tests.support.program import (
    ADD,
    COPY,
    DECAY,
    GATE,
    L2_NORM,
    MUL,
    MUL_ROW,
    NONE,
    NORM,
    NORM_SWIGLU,
    SCALE,
    SIGMOID,
    SILU,
    SWIGLU,
    Space,
    add_rows,
    padded,
    program,
    quantized,
    run_rows,
)

from outpace import _native

TIERS = _native.supported_tiers()
LENGTHS = (1, 5, 16, 31, 32, 75, 576, 1537)


def run(tier, verb, x, y=None, *, weight=(), eps=0.0, factor=1.0, groups=1, threads=1):
    t, n = x.shape
    stride = padded(n)
    space = Space()
    at_x, at_y, at_out = (space.take(4 * t * stride) for _ in range(3))
    prog = program(tier, space, rows=t, threads=threads)
    add_rows(
        prog, verb, at_x, NONE if y is None else at_y, n=n, groups=groups, eps=eps, factor=factor, weight=weight,
        out=at_out,
    )  # fmt: skip
    prog.floats(at_x, t, stride, n)[:] = x
    if y is not None:
        prog.floats(at_y, t, stride, n)[:] = y
    run_rows(prog, t)
    return prog.floats(at_out, t, stride, n).copy()


def rows(n, t=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((t, n)).astype(np.float32) * 4


def silu(x):
    x = x.astype(np.float64)
    return x / (1 + np.exp(-x))


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("n", LENGTHS)
def test_verbs_are_their_formulas(tier, n):
    x, y = rows(n), rows(n, seed=1)
    close = {"rtol": 3e-6, "atol": 1e-6}
    np.testing.assert_allclose(run(tier, SILU, x), silu(x), **close)
    np.testing.assert_allclose(run(tier, SWIGLU, x, y), silu(x) * y, **close)
    assert np.array_equal(run(tier, ADD, x, y), x + y)
    assert np.array_equal(run(tier, MUL, x, y), x * y)
    assert np.array_equal(run(tier, SCALE, x, factor=0.3), x * np.float32(0.3))


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(("n", "groups"), [(1, 1), (75, 1), (576, 1), (128, 4), (60, 3)])
def test_norm_is_its_formula_in_each_group(tier, n, groups):
    x, w = rows(n), rows(n // groups, t=1, seed=2)[0]
    parts = x.reshape(3, groups, -1).astype(np.float64)
    expected = parts / np.sqrt((parts**2).mean(axis=-1, keepdims=True) + 1e-5) * w
    found = run(tier, NORM, x, weight=w, eps=1e-5, groups=groups)
    np.testing.assert_allclose(found, expected.reshape(3, n), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("n", LENGTHS)
def test_gates_are_their_formulas(tier, n):
    x, y = rows(n), rows(n, seed=1)
    rate, bias = -np.abs(rows(n, t=1, seed=2)[0]), rows(n, t=1, seed=3)[0]
    one = 1 / (1 + np.exp(-x.astype(np.float64)))
    close = {"rtol": 3e-6, "atol": 1e-6}
    np.testing.assert_allclose(run(tier, SIGMOID, x), one, **close)
    np.testing.assert_allclose(run(tier, GATE, y, x), y * one, **close)
    w = np.concatenate([rate, bias])
    wanted = np.exp(rate.astype(np.float64) * np.logaddexp(0, x.astype(np.float64) + bias))
    np.testing.assert_allclose(run(tier, DECAY, x, weight=w), wanted, rtol=2e-6 * 20, atol=1e-7)
    assert np.array_equal(run(tier, MUL_ROW, x, y[:, :1].repeat(n, axis=1)), x * y[:, :1])


@pytest.mark.parametrize("tier", TIERS)
def test_softplus_holds_at_its_ends(tier):
    """Read through exp(-softplus(x)) = 1 / (1 + exp(x)), near 1 where softplus is near 0."""
    x = np.array([[0.0, -0.0, 1e-6, -20.0, -87.0, -100.0, 30.0, 80.0, -np.inf, np.inf, np.nan, 0.7]], np.float32)
    n = x.shape[1]
    found = run(tier, DECAY, x, weight=[-1.0] * n + [0.0] * n)[0]
    with np.errstate(over="ignore"):
        wanted = 1 / (1 + np.exp(x[0].astype(np.float64)))
    np.testing.assert_allclose(found[:10], wanted[:10], rtol=1e-5, atol=1e-37)
    assert np.isnan(found[10])
    # log(1 + e^x) is e^x far below 0: a large rate shows that it has all its digits there.
    x = np.linspace(-14, 3, 64, dtype=np.float32)[None]
    found = run(tier, DECAY, x, weight=[-1e-3] * 64 + [0.0] * 64)[0]
    big = run(tier, DECAY, x, weight=[-1e3] * 64 + [0.0] * 64)[0]
    softplus = np.logaddexp(0, x[0].astype(np.float64))
    np.testing.assert_allclose(found, np.exp(-1e-3 * softplus), rtol=2e-7)
    far = softplus < 0.01
    np.testing.assert_allclose(-np.log(big[far].astype(np.float64)) / 1e3, softplus[far], rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(("n", "groups"), [(1, 1), (75, 1), (128, 4), (60, 3)])
def test_norms_are_their_formulas_in_each_group(tier, n, groups):
    x, y, w = rows(n), rows(n, seed=1), rows(n // groups, t=1, seed=2)[0]
    parts = x.reshape(3, groups, -1).astype(np.float64)
    length = np.sqrt((parts**2).sum(axis=-1, keepdims=True) + 1e-5)
    found = run(tier, L2_NORM, x, eps=1e-5, factor=0.25, groups=groups)
    np.testing.assert_allclose(found, (parts / length * 0.25).reshape(3, n), rtol=2e-6, atol=1e-6)
    normed = run(tier, NORM, x, weight=w, eps=1e-5, groups=groups)
    assert np.array_equal(run(tier, NORM_SWIGLU, y, x, weight=w, eps=1e-5, groups=groups), run(tier, SWIGLU, y, normed))


@pytest.mark.parametrize("tier", TIERS)
def test_groups_may_lie_apart(tier):
    """The second half of each of three heads, as an attention's gate lies behind its query."""
    t, heads, k = 3, 3, 40
    x = rows(heads * 2 * k, t=t)
    stride, out_stride = padded(heads * 2 * k), padded(heads * k)
    space = Space()
    at_x, at_out = space.take(4 * t * stride), space.take(4 * t * out_stride)
    prog = program(tier, space, rows=t)
    add_rows(prog, SIGMOID, (at_x + 4 * k, stride, 2 * k), n=heads * k, groups=heads, out=at_out)
    prog.floats(at_x, t, stride, heads * 2 * k)[:] = x
    run_rows(prog, t)
    found = prog.floats(at_out, t, out_stride, heads * k).copy()
    gate = np.ascontiguousarray(x.reshape(t, heads, 2, k)[:, :, 1]).reshape(t, -1)
    assert np.array_equal(found, run(tier, SIGMOID, gate))


@pytest.mark.parametrize("n", LENGTHS)
def test_all_tiers_and_thread_counts_give_the_same_bits(n):
    x, y, w = rows(n, t=20), rows(n, t=20, seed=1), rows(n, t=1, seed=2)[0]
    x[4] *= 40  # the exponential's ends
    for verb, second, options in (
        (SILU, None, {}), (SWIGLU, y, {}), (NORM, None, {"weight": w, "eps": 1e-6}), (SIGMOID, None, {}), (GATE, y, {}),
        (L2_NORM, None, {"eps": 1e-6}), (NORM_SWIGLU, y, {"weight": w, "eps": 1e-6}),
        (DECAY, None, {"weight": np.concatenate([-abs(w), y[0]])}),
    ):  # fmt: skip
        first = run(TIERS[0], verb, x, second, **options)
        for tier in TIERS:
            assert np.array_equal(run(tier, verb, x, second, threads=2, **options), first), (tier, verb)


@pytest.mark.parametrize("tier", TIERS)
def test_the_exponential_holds_at_its_ends(tier):
    x = np.array([[0.0, -0.0, 87.0, 88.5, 200.0, -86.0, -88.0, -200.0, np.inf, -np.inf, np.nan, 1e-30]], np.float32)
    found = run(tier, SILU, x)[0]
    with np.errstate(invalid="ignore", over="ignore"):
        expected = silu(x)[0]
    np.testing.assert_allclose(found[:9], expected[:9], rtol=1e-5, atol=1e-35)
    assert np.isnan(found[10])
    assert found[11] == pytest.approx(5e-31)


@pytest.mark.parametrize("tier", TIERS)
def test_quantising_rounds_to_nearest_with_16_bits_in_blocks_far_above_their_stretch(tier):
    t, n = 11, 96 + 512
    x = rows(n, t=t, seed=5)
    x[1, 32:64] = 0
    x[2, 0] = 1e-38
    x[3, 64:96] *= 30
    x[9, 512:544] *= 30
    stride = padded(n)
    space = Space()
    at_x = space.take(4 * t * stride)
    at_q, at_s = space.take(_native.codes_bytes(t, stride)), space.take(_native.scales_bytes(t, stride))
    prog = program(tier, space, rows=t)
    add_rows(prog, COPY, at_x, n=n, out=at_x, q=at_q, scales=at_s, max_rows=t)
    prog.floats(at_x, t, stride, n)[:] = x
    run_rows(prog, t)
    n_bytes = _native.codes_bytes(t, stride)
    raw = prog.floats(at_q, 1, n_bytes // 4, n_bytes // 4).copy().view(np.uint8).reshape(-1)
    q, low = raw[: 2 * t * stride].view(np.int8).astype(np.float64).reshape(2, t, -1, 32)
    flags = raw[2 * t * stride + t * stride // 32 * 20 :].reshape(-1, stride // 32, 8)
    has_low = flags.swapaxes(1, 2).reshape(-1, stride // 32)[:t]
    assert {tuple(at) for at in np.argwhere(has_low)} == {(3, 2), (9, 16)}
    assert not low[has_low == 0].any() and low[has_low == 1].any()
    codes, scales = quantized(x)
    np.testing.assert_array_equal(q + low / 256, codes)
    n_floats = _native.scales_bytes(t, stride) // 4
    records = prog.floats(at_s, 1, n_floats, n_floats).copy().reshape(t, -1, 7)
    np.testing.assert_allclose(records[..., 0], scales, rtol=1e-7)
    np.testing.assert_allclose(records[..., 1], scales * codes.sum(axis=-1), rtol=1e-6)
    low_offsets = raw[2 * t * stride :][: t * stride // 32 * 20].view(np.int32).reshape(t, -1, 5)
    begun = records[..., 2:].copy()
    np.testing.assert_array_equal(begun - np.float32(1.5 * 2**23), begun.view(np.int32) - 0x4B400000)
    for found, part in ((begun - np.float32(1.5 * 2**23), q), (low_offsets, low)):
        first, rest = part[..., :16].sum(axis=-1), part[..., 16:].sum(axis=-1)
        all_, starts = first + rest, [-32 * first, -32 * rest]
        np.testing.assert_array_equal(found, np.stack([-8 * all_, -16 * all_, -128 * all_, *starts], axis=-1))
    step = scales / np.where(has_low, 256, 1)
    assert (np.abs(codes * scales[..., None] - x.reshape(t, -1, 32)) <= step[..., None] * 0.50001).all()


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("neox", [0, 1])
def test_rope_turns_each_pair_by_its_angle(tier, neox):
    t, heads, k, dims = 5, 3, 16, 12
    x = rows(heads * k, t=t, seed=6)
    frequencies = [1.0 / 100 ** (2 * i / dims) for i in range(dims // 2)]
    stride = padded(heads * k)
    space = Space()
    at_x, at_out, at_table = space.take(4 * t * stride), space.take(4 * t * stride), space.take(4 * t * dims)
    prog = program(tier, space, rows=t)
    table = prog.add_rope_table(frequencies=frequencies, out=at_table)
    prog.add_rope(
        rows=0, x=at_x, out=at_out, stride=stride, n_heads=heads, head_dim=k, neox=neox, table=table, factor=1.0
    )
    prog.floats(at_x, t, stride, heads * k)[:] = x
    prog.run([0] * t, [(7, t, np.zeros(1, np.int32))], [])
    found = prog.floats(at_out, t, stride, heads * k).copy().reshape(t, heads, k)
    expected = x.reshape(t, heads, k).astype(np.float64).copy()
    for row in range(t):
        for i, frequency in enumerate(frequencies):
            a, b = (i, i + dims // 2) if neox else (2 * i, 2 * i + 1)
            turn = np.exp(1j * (7 + row) * frequency)
            pair = (x.reshape(t, heads, k)[row, :, a] + 1j * x.reshape(t, heads, k)[row, :, b]) * turn
            expected[row, :, a], expected[row, :, b] = pair.real, pair.imag
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
