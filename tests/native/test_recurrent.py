"""Recurrent verbs: against numpy in float64 at odd sizes, the same bits on every tier and in any steps."""

import numpy as np
import pytest
from tests.support.program import Space, padded

from outpace import _native

TIERS = _native.supported_tiers()
MOST = 4
PAGE = np.zeros(1, np.int32)


class Layer:
    """A convolution and a gated-delta memory beside it, over inputs given row by row."""

    def __init__(
        self, tier, heads=(2, 4), dims=(16, 24), kernel=4, *, tiled=True, silu=False, threads=1, rows=32, slots=2
    ):
        (self.g, self.h), (self.k, self.v) = heads, dims
        self.kernel, self.tiled, self.silu, self.rows = kernel, tiled, silu, rows
        self.channels = 2 * self.g * self.k + self.h * self.v
        rng = np.random.default_rng(5)
        self.weight = rng.standard_normal((self.channels, kernel)).astype(np.float32)
        space = Space()
        self.widths = {
            "x": self.channels, "y": self.channels, "q": self.g * self.k, "k": self.g * self.k, "v": self.h * self.v,
            "decay": self.h, "beta": self.h, "out": self.h * self.v,
        }  # fmt: skip
        self.at = {name: space.take(4 * rows * padded(n)) for name, n in self.widths.items()}
        scratch_bytes = padded(4 * 64 * self.k, 64)
        scratch = space.take(threads * scratch_bytes)
        pool = _native.Pool(threads)
        shape = (self.channels, kernel, self.h, self.g, self.k, self.v)
        self.state = _native.State(
            pool=pool, n_pages=1, kv_type=1, kv=[], recurrent=[shape], n_slots=slots, max_draft=MOST
        )
        self.program = _native.Program(
            weights=_native.WeightArena(tier, pool, 64), state=self.state, workspace=_native.Memory(space.end),
            max_rows=rows, max_exported=rows, max_wanted=rows, partial=0, partial_rows=0, partial_chunks=0,
            scratch=scratch, scratch_bytes=scratch_bytes,
        )  # fmt: skip
        self.program.add_conv(
            x=self.at["x"], x_stride=padded(self.channels), out=self.at["y"], out_stride=padded(self.channels),
            layer=0, with_silu=silu, weight=self.weight.T.reshape(-1).tolist(),
        )  # fmt: skip
        place = {name: (self.at[name], padded(n), 0) for name, n in self.widths.items() if name not in "xy"}
        self.program.add_gated_delta(**place, layer=0, tiled=tiled)

    def inputs(self, n, seed=0):
        rng = np.random.default_rng(seed)
        found = {name: rng.standard_normal((n, width)).astype(np.float32) for name, width in self.widths.items()}
        found["decay"] = rng.uniform(0.6, 1, (n, self.h)).astype(np.float32)
        found["beta"] = rng.uniform(0, 1, (n, self.h)).astype(np.float32)
        for name in "qk":
            found[name] /= np.sqrt(self.k)
        return found

    def step(self, given, rows, *, start, slot=0, n_draft=0, n_pending=0):
        """Run rows of the inputs; return results of the convolution and of the memory."""
        n = len(rows)
        for name in ("x", "q", "k", "v", "decay", "beta"):
            self.view(name, n)[:] = given[name][rows]
        self.program.run([0] * n, [(start, n, PAGE, slot, n_draft, n_pending)], [])
        return self.view("y", n).copy(), self.view("out", n).copy()

    def view(self, name, n):
        return self.program.floats(self.at[name], n, padded(self.widths[name]), self.widths[name])

    def expected(self, given, n):
        """Both verbs in float64."""
        x = np.concatenate([np.zeros((self.kernel - 1, self.channels)), given["x"][:n].astype(np.float64)])
        y = sum(x[j : j + n] * self.weight[:, j] for j in range(self.kernel))
        if self.silu:
            y = y / (1 + np.exp(-y))
        q, k, v = (
            given[name][:n].astype(np.float64).reshape(n, heads, -1)
            for name, heads in (("q", self.g), ("k", self.g), ("v", self.h))
        )
        memory = np.zeros((self.h, self.k, self.v))
        out = np.empty((n, self.h, self.v))
        for t in range(n):
            for head in range(self.h):
                g = head % self.g if self.tiled else head // (self.h // self.g)
                s = memory[head] * given["decay"][t, head]
                s += np.outer(k[t, g], given["beta"][t, head] * (v[t, head] - s.T @ k[t, g]))
                memory[head], out[t, head] = s, s.T @ q[t, g]
        return y, out.reshape(n, -1)


SHAPES = [
    ((2, 4), (16, 24), 4),
    ((1, 1), (8, 8), 2),
    ((3, 3), (32, 80), 3),
    ((2, 6), (128, 128), 4),
    ((1, 2), (40, 130), 5),
]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(("heads", "dims", "kernel"), SHAPES)
@pytest.mark.parametrize("tiled", [True, False])
def test_both_verbs_are_their_formulas(tier, heads, dims, kernel, tiled):
    layer = Layer(tier, heads, dims, kernel, tiled=tiled, silu=tiled)
    given = layer.inputs(20)
    for found, wanted in zip(layer.step(given, range(20), start=0), layer.expected(given, 20), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(("heads", "dims", "kernel"), SHAPES)
def test_all_tiers_and_threads_give_the_same_bits(heads, dims, kernel):
    first = None
    for tier in TIERS:
        for threads in (1, 2, 3):
            layer = Layer(tier, heads, dims, kernel, threads=threads, silu=True)
            found = layer.step(layer.inputs(20), range(20), start=0)
            first = first or found
            assert all(np.array_equal(a, b) for a, b in zip(found, first, strict=True)), (tier, threads)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(("heads", "dims", "kernel"), SHAPES[:3])
def test_guesses_that_are_no_numbers_leave_no_trace_when_they_are_refused(tier, heads, dims, kernel):
    """Rounds with every number of accepted guesses; the refused ones are full of infinities."""
    n = 30
    layer = Layer(tier, heads, dims, kernel, threads=2)
    given = layer.inputs(n)
    whole = layer.step(given, range(n), start=0)
    bad = {name: np.full_like(each, np.inf) for name, each in given.items()}
    layer = Layer(tier, heads, dims, kernel, threads=2)
    both = {name: np.concatenate([given[name], bad[name]]) for name in given}
    random = np.random.default_rng(7)
    at = pending = 0
    while at + MOST + 1 <= n:
        n_draft = int(random.integers(0, MOST + 1))
        n_right = int(random.integers(0, n_draft + 1))
        rows = [*range(at, at + 1 + n_right), *range(n, n + n_draft - n_right)]
        found = layer.step(both, rows, start=at, n_draft=n_draft, n_pending=pending)
        for one, other in zip(found, whole, strict=True):
            assert np.array_equal(one[: 1 + n_right], other[at : at + 1 + n_right])
        at += 1 + n_right
        pending = n_right


@pytest.mark.parametrize("tier", TIERS)
def test_steps_with_guesses_alone_and_with_accepted_ones_alone(tier):
    """All rows may be guesses; a state may take in accepted rows and then guess on."""
    layer = Layer(tier)
    given = layer.inputs(12)
    whole = layer.step(given, range(12), start=0, slot=1)
    for start, pending in ((0, 0), (3, 3), (6, 3), (9, 3)):
        rows = range(start, start + 3)
        found = layer.step(given, rows, start=start, n_draft=3, n_pending=pending)
        for one, other in zip(found, whole, strict=True):
            assert np.array_equal(one, other[start : start + 3])
