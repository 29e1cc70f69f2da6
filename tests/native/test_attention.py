"""Attention: against numpy in float64, and the same bits whatever the step's shape, the pages or the threads."""

import numpy as np
import pytest
from tests.support.program import ALL, NONE, Space, padded, program

from outpace import _native
from outpace.graph.cost import KVSpec

TIERS = _native.supported_tiers()
F16, Q8, Q4 = 1, 8, 2
KV_TYPES = pytest.mark.parametrize("kv_type", [F16, Q8, Q4], ids=["f16", "q8_0", "q4_0"])


class Cache:
    """One layer's attention over a fixed set of random queries, keys and values."""

    def __init__(self, tier, *, heads=4, kv_heads=2, head_dim=32, kv_type=F16, threads=1, rows=64, n_pages=16, split=0):
        self.shape, self.rows = (heads, kv_heads, head_dim), rows
        self.q_stride, self.kv_stride = padded(heads * head_dim), padded(kv_heads * head_dim)
        space = Space()
        self.at = {name: space.take(4 * rows * self.q_stride) for name in ("q", "k", "v", "out")}
        arena = _native.WeightArena(tier, _native.Pool(threads), 64)
        self.program = program(
            tier, space, threads=threads, rows=rows, kv=[(kv_heads, head_dim)], n_pages=n_pages, kv_type=kv_type,
            arena=arena, partial_rows=split,
        )  # fmt: skip
        self.program.add_rope(
            rows=ALL, x=self.at["q"], out=self.at["q"], stride=self.q_stride, n_heads=heads, head_dim=head_dim, neox=0,
            table=NONE, factor=head_dim**-0.5,
        )  # fmt: skip
        self.program.add_kv_write(
            layer=0, k=self.at["k"], k_out=self.at["k"], k_stride=self.kv_stride, v=self.at["v"],
            v_stride=self.kv_stride, n_kv_heads=kv_heads, head_dim=head_dim, neox=0, table=NONE,
        )  # fmt: skip
        self.program.add_attention(
            rows=ALL, layer=0, q=self.at["q"], out=self.at["out"], stride=self.q_stride, n_heads=heads
        )

    def step(self, q, k, v, segments):
        """Run rows q [T, H, K], k and v [T, G, K]; segments are (start, rows, pages)."""
        t = len(q)
        heads, kv_heads, head_dim = self.shape
        self.program.floats(self.at["q"], t, self.q_stride, heads * head_dim)[:] = q.reshape(t, -1)
        self.program.floats(self.at["k"], t, self.kv_stride, kv_heads * head_dim)[:] = k.reshape(t, -1)
        self.program.floats(self.at["v"], t, self.kv_stride, kv_heads * head_dim)[:] = v.reshape(t, -1)
        self.program.run([0] * t, segments, [])
        return self.program.floats(self.at["out"], t, self.q_stride, heads * head_dim).copy()

    def whole(self, q, k, v, cuts, pages):
        """Run a sequence in steps that end at each of `cuts`."""
        parts, start = [], 0
        for end in cuts:
            parts.append(self.step(q[start:end], k[start:end], v[start:end], [(start, end - start, pages)]))
            start = end
        return np.concatenate(parts)


def inputs(n, heads=4, kv_heads=2, head_dim=32, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((n, heads, head_dim)).astype(np.float32) * 2,
        rng.standard_normal((n, kv_heads, head_dim)).astype(np.float32),
        rng.standard_normal((n, kv_heads, head_dim)).astype(np.float32),
    )


def oracle(q, k, v, rounding):
    """Return causal attention in float64 over keys and values as the cache rounds them."""
    n, heads, head_dim = q.shape
    k, v = rounding(k).astype(np.float64), rounding(v).astype(np.float64)
    group = heads // k.shape[1]
    out = np.empty((n, heads, head_dim))
    for p in range(n):
        for h in range(heads):
            s = k[: p + 1, h // group] @ q[p, h].astype(np.float64) / np.sqrt(head_dim)
            e = np.exp(s - s.max())
            out[p, h] = e @ v[: p + 1, h // group] / e.sum()
    return out.reshape(n, -1)


def to_f16(x):
    return x.astype(np.float16).astype(np.float32)


def by_blocks(x, rounding):
    """Apply a rounding to each 32 values of the last dimension, the last of them may be fewer."""
    ends = range(32, x.shape[-1], 32)
    return np.concatenate([rounding(part) for part in np.split(x, ends, axis=-1)], axis=-1)


def to_q8(x):
    top = np.abs(x).max(axis=-1, keepdims=True)
    q = np.rint(x * np.where(top > 0, 127 / np.where(top > 0, top, 1), 0))
    return q * to_f16(top / 127)


def to_q4(x):
    # Of two extremes of one size the positive one: argmax takes the first.
    both = np.concatenate([np.sort(x)[..., ::-1][..., :1], np.sort(x)[..., :1]], axis=-1)
    extreme = np.take_along_axis(both, np.abs(both).argmax(axis=-1)[..., None], axis=-1)
    d = extreme / np.float32(-8)
    q = np.rint(x * np.where(d, 1 / np.where(d, d, 1), 0)).clip(-8, 7)
    return q * to_f16(d)


ROUNDING = {F16: to_f16, Q8: lambda x: by_blocks(x, to_q8), Q4: lambda x: by_blocks(x, to_q4)}


PAGES = np.array([3, 9, 0, 12, 7, 1, 15, 4, 2, 11], np.int32)


@pytest.mark.parametrize("tier", TIERS)
@KV_TYPES
@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(4, 2, 32), (9, 3, 64), (3, 1, 16), (2, 2, 80)])
def test_attention_is_the_formula(tier, kv_type, heads, kv_heads, head_dim):
    q, k, v = inputs(300, heads, kv_heads, head_dim)
    cache = Cache(tier, heads=heads, kv_heads=kv_heads, head_dim=head_dim, kv_type=kv_type, rows=300)
    found = cache.whole(q, k, v, [300], PAGES)
    np.testing.assert_allclose(found, oracle(q, k, v, ROUNDING[kv_type]), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("tier", TIERS)
@KV_TYPES
def test_no_cut_thread_page_or_split_changes_a_bit(tier, kv_type):
    n = 530
    q, k, v = inputs(n, seed=1)
    whole = Cache(tier, kv_type=kv_type, rows=n).whole(q, k, v, [n], PAGES)
    rng = np.random.default_rng(2)
    for threads, split in ((1, 0), (2, 0), (2, 16), (1, 16)):
        cuts = [*sorted(rng.choice(np.arange(1, n), 40, replace=False).tolist()), n]
        pages = rng.permutation(16).astype(np.int32)[:10]
        cache = Cache(tier, kv_type=kv_type, rows=n, threads=threads, split=split)
        assert np.array_equal(cache.whole(q, k, v, cuts, pages), whole), (threads, split)


@KV_TYPES
def test_all_tiers_give_the_same_bits(kv_type):
    q, k, v = inputs(280, seed=3)
    first = Cache(TIERS[0], kv_type=kv_type, rows=280).whole(q, k, v, [280], PAGES)
    for tier in TIERS[1:]:
        assert np.array_equal(Cache(tier, kv_type=kv_type, rows=280).whole(q, k, v, [280], PAGES), first), tier


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kv_type", [Q8, Q4], ids=["q8_0", "q4_0"])
def test_blocks_of_zeros_extremes_and_no_numbers_stay_in_their_place(tier, kv_type):
    q, k, v = inputs(3, seed=6)
    k[0], v[0] = 0, 0
    k[1, 0, :4] = [3, -3, 1e-30, -1e-30]
    v[1, 0, :4] = [-5, 5, 2.5, -2.5]
    found = Cache(tier, kv_type=kv_type).whole(q, k, v, [3], PAGES)
    np.testing.assert_allclose(found, oracle(q, k, v, ROUNDING[kv_type]), rtol=2e-4, atol=2e-5)
    # What is no number spoils its own position alone, and those that look at it.
    k[2], v[2] = np.nan, np.inf
    assert np.array_equal(Cache(tier, kv_type=kv_type).whole(q, k, v, [3], PAGES)[:2], found[:2])


@pytest.mark.parametrize("kv_type", [F16, Q8, Q4], ids=["f16", "q8_0", "q4_0"])
@pytest.mark.parametrize("head_dim", [16, 64, 80, 256])
def test_a_page_takes_what_the_plan_says(kv_type, head_dim):
    name = {F16: "f16", Q8: "q8_0", Q4: "q4_0"}[kv_type]
    assert _native.kv_page_bytes(3, head_dim, kv_type) == 64 * KVSpec(0, 3, head_dim).bytes_per_token(name)


@pytest.mark.parametrize("tier", TIERS)
def test_sequences_in_one_step_do_not_touch_each_other(tier):
    q, k, v = inputs(60, seed=4)
    alone = [Cache(tier).whole(q[a:b], k[a:b], v[a:b], [b - a], PAGES) for a, b in ((0, 25), (25, 60))]
    cache = Cache(tier, threads=2)
    together = cache.step(q, k, v, [(0, 25, np.array([5], np.int32)), (0, 35, np.array([6], np.int32))])
    assert np.array_equal(together, np.concatenate(alone))


@pytest.mark.parametrize("tier", TIERS)
def test_what_a_rejected_draft_left_behind_is_never_read(tier):
    q, k, v = inputs(40, seed=5)
    clean = Cache(tier).whole(q, k, v, [20, 40], PAGES)
    cache = Cache(tier)
    cache.step(q[:20], k[:20], v[:20], [(0, 20, PAGES)])
    poison = np.full_like(k[:12], np.inf)
    cache.step(q[:12], poison, np.full_like(poison, np.nan), [(20, 12, PAGES)])
    after = np.concatenate([clean[:20], cache.step(q[20:], k[20:], v[20:], [(20, 20, PAGES)])])
    assert np.array_equal(after, clean)


def test_steps_that_do_not_fit_are_refused_before_anything_is_written():
    cache = Cache(TIERS[0], n_pages=2)
    q, k, v = inputs(4)
    for segments, words in (
        ([(0, 3, np.array([1], np.int32))], "cover"),
        ([(0, 4, np.array([2], np.int32))], "page out of range"),
        ([(62, 4, np.array([1], np.int32))], "too short"),
        ([(-1, 4, np.array([1], np.int32))], "before 0"),
        ([(0, 4, np.array([-1], np.int32))], "page out of range"),
    ):
        with pytest.raises(ValueError, match=words):
            cache.step(q, k, v, segments)
    with pytest.raises(ValueError, match="1 to 64 rows"):
        cache.program.run([], [], [])
    with pytest.raises(ValueError, match="wanted row"):
        cache.program.run([0], [(0, 1, np.zeros(1, np.int32))], [1])
