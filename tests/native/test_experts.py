"""A mixture of experts: against numpy in float64, and the same bits whatever the company, the threads or the tier."""

import numpy as np
import pytest
from tests.support.program import (
    ALL,
    COPY,
    NONE,
    Space,
    add_rows,
    padded,
    program,
    quantized,
    random_matrix,
    run_rows,
)

from outpace import _native
from outpace.gguf.types import GGMLType

TIERS = _native.supported_tiers()
D, F, E = 64, 96, 11
KINDS = [GGMLType.F32, GGMLType.Q8_0, GGMLType.Q4_0]


def weights(kind, seed=0):
    """Return for gate, up and down the bytes of each expert's matrix, and the values [E, rows, columns]."""
    rng = np.random.default_rng(seed)
    found = [[random_matrix(rng, kind, n, k) for _ in range(E)] for n, k in ((F, D), (F, D), (D, F))]
    return [([raw for raw, _ in each], np.stack([w for _, w in each])) for each in found]


def run(tier, kind, matrices, x, router, *, n_used=3, renormalise=True, threads=1):
    t = len(x)
    plain = kind is GGMLType.F32
    slots = t * n_used + 7 * min(E, t * n_used)
    space = Space()
    at_x, at_router, at_out = space.take(4 * t * D), space.take(4 * t * padded(E)), space.take(4 * t * D)
    lent = {name: space.take(4 * slots * n) for name, n in (("x", D), ("gated", F), ("lifted", F), ("out", D))}

    def codes(rows, n):
        if plain:
            return NONE, NONE, 0, 0
        return space.take(_native.codes_bytes(rows, n)), space.take(_native.scales_bytes(rows, n)), n, rows

    of_x, of_slots, of_hidden = codes(t, D), codes(slots, D), codes(slots, F)
    pool = _native.Pool(threads)
    n_bytes = sum(E * _native.packed_bytes(tier, int(kind), n, k) for n, k in ((F, D), (F, D), (D, F)))
    arena = _native.WeightArena(tier, pool, n_bytes)
    gate, up, down = ([arena.pack(int(kind), *w.shape[1:], raw) for raw in raws] for (raws, w) in matrices)
    prog = program(tier, space, threads=threads, rows=t, arena=arena)
    if not plain:
        add_rows(prog, COPY, at_x, n=D, out=at_x, q=of_x[0], scales=of_x[1], max_rows=t)
    prog.add_experts(
        rows=ALL, max_rows=t, max_slots=slots, n_used=n_used, renormalise=renormalise, d_model=D, d_ff=F, gate=gate,
        up=up, down=down, x=(at_x, D, 0), codes=of_x, router=(at_router, padded(E), 0), slot_x=(lent["x"], D, 0),
        slot_codes=of_slots, gated=(lent["gated"], F, 0), lifted=(lent["lifted"], F, 0), hidden_codes=of_hidden,
        out_slots=(lent["out"], D, 0), out=(at_out, D, 0),
    )  # fmt: skip
    prog.floats(at_x, t, D, D)[:] = x
    prog.floats(at_router, t, padded(E), E)[:] = router
    run_rows(prog, t)
    return prog.floats(at_out, t, D, D).copy()


def rounded(x, plain):
    """Return rows as the kernels multiply them, in float64."""
    if plain:
        return x.astype(np.float64)
    q, d = quantized(x.astype(np.float32))
    return (q * d[..., None]).reshape(x.shape)


def expected(kind, matrices, x, router, n_used, renormalise):
    gate, up, down = (w.astype(np.float64) for _, w in matrices)
    plain = kind is GGMLType.F32
    out = np.zeros((len(x), D))
    for i, row in enumerate(x):
        shares = np.exp(router[i].astype(np.float64) - router[i].max())
        shares /= shares.sum()
        used = np.argsort(-shares, kind="stable")[:n_used]
        total = shares[used].sum() if renormalise else 1
        for e in used:
            given = rounded(row[None], plain)[0]
            g = gate[e] @ given
            h = g / (1 + np.exp(-g)) * (up[e] @ given)
            out[i] += shares[e] / total * (down[e] @ rounded(h[None], plain)[0])
    return out


def case(t, seed=1):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((t, D)).astype(np.float32), rng.standard_normal((t, E)).astype(np.float32) * 2


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize(("t", "n_used", "renormalise"), [(1, 1, True), (1, 3, False), (9, 3, True), (40, 11, True)])
def test_a_mixture_is_its_formula(tier, kind, t, n_used, renormalise):
    matrices, (x, router) = weights(kind), case(t)
    found = run(tier, kind, matrices, x, router, n_used=n_used, renormalise=renormalise)
    wanted = expected(kind, matrices, x, router, n_used, renormalise)
    # A code of the hidden values may round the other way.
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=(1e-5 if kind is GGMLType.F32 else 6e-3))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_row_has_the_same_bits_in_any_company_on_any_tier(kind):
    matrices, (x, router) = weights(kind), case(50)
    x[7] *= 30  # some blocks have codes of 16 bits
    x[7, 3] *= 40
    whole = run(TIERS[0], kind, matrices, x, router)
    for tier in TIERS:
        for threads in (1, 2, 3):
            assert np.array_equal(run(tier, kind, matrices, x, router, threads=threads), whole), (tier, threads)
        for begin, end in ((7, 8), (0, 3), (5, 25), (49, 50)):
            part = run(tier, kind, matrices, x[begin:end], router[begin:end], threads=2)
            assert np.array_equal(part, whole[begin:end]), (tier, begin, end)


@pytest.mark.parametrize("tier", TIERS)
def test_of_equal_shares_the_lower_index_is_used(tier):
    matrices, (x, _) = weights(GGMLType.F32), case(2)
    router = np.zeros((2, E), np.float32)
    router[1, [2, 9, 10]] = 5
    first = run(tier, GGMLType.F32, matrices, x, router, n_used=2)
    np.testing.assert_allclose(first, expected(GGMLType.F32, matrices, x, router, 2, True), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tier", TIERS)
def test_a_router_of_no_numbers_chooses_experts_that_there_are(tier):
    matrices, (x, router) = weights(GGMLType.F32), case(3)
    router[1] = np.nan
    router[2, 4] = np.inf
    found = run(tier, GGMLType.F32, matrices, x, router)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()
