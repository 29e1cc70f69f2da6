"""The verbs on numpy in float32, run eagerly or from a plan, one row at a time."""

# ruff: noqa: D102 - the verbs are documented in graph/ops.py

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from outpace.backends.eager import recurrent
from outpace.backends.eager.kv import Array, PagedKV
from outpace.backends.eager.recurrent import RecurrentState, Updates
from outpace.backends.eager.rows import Rows
from outpace.gguf.weights import WeightRef
from outpace.graph.ops import Rope
from outpace.graph.step import Step


class ReferenceOps:
    """The verbs, computed at once: values are float32 arrays that can be printed.

    Every row is computed by itself, by calls whose shapes depend on that row's position alone, so neither the rows
    beside it nor the cut into steps change its bits.

    State: writes the step's rows into `cache` and `state`; `outputs` collects what the program names.
    """

    def __init__(
        self,
        step: Step,
        tensors: Callable[[WeightRef], Array],
        cache: PagedKV,
        state: RecurrentState | None = None,
    ) -> None:
        self.outputs: dict[str, Array] = {}
        self._step, self._tensors, self._cache = step, tensors, cache
        self._state = state or RecurrentState(n_slots=1, max_draft=0)
        self._rows = Rows(step)
        self._turns: dict[Rope, tuple[Array, Array]] = {}

    def embed(self, table: WeightRef) -> Array:
        return self._tensors(table)[np.asarray(self._step.tokens, np.intp)]

    def hidden(self, width: int) -> Array:
        given = self._step.hidden
        assert given is not None and given.shape == (self._rows.n, width), "a draft program needs hidden states [T, D]"
        return np.asarray(given, np.float32)

    def linear(self, x: Array, weight: WeightRef, bias: WeightRef | None = None) -> Array:
        # A batch of one-row products: each is the same call whatever the number of rows.
        y: Array = np.matmul(_flat(x)[:, None, :], self._tensors(weight).T)[:, 0, :]
        return y if bias is None else y + self._tensors(bias)

    def add(self, x: Array, y: Array) -> Array:
        return x + y

    def mul(self, x: Array, y: Array) -> Array:
        return x * y

    def scale(self, x: Array, factor: float) -> Array:
        return x * np.float32(factor)

    def silu(self, x: Array) -> Array:
        with np.errstate(over="ignore"):  # exp(-x) of a very negative x is infinite, and the quotient 0
            y: Array = np.divide(x, np.float32(1) + np.exp(-x))
        return y

    def sigmoid(self, x: Array) -> Array:
        with np.errstate(over="ignore"):
            y: Array = np.reciprocal(np.float32(1) + np.exp(-x))
        return y

    def rms_norm(self, x: Array, weight: WeightRef, eps: float) -> Array:
        mean = np.add.reduce(x * x, axis=-1, keepdims=True) / np.float32(x.shape[-1])
        y: Array = np.divide(x, np.sqrt(mean + np.float32(eps))) * self._tensors(weight)
        return y

    def l2_norm(self, x: Array, eps: float, factor: float | None = None) -> Array:
        total = np.add.reduce(x * x, axis=-1, keepdims=True)
        y: Array = np.divide(x, np.sqrt(total + np.float32(eps)))
        return y if factor is None else self.scale(y, factor)

    def heads(self, x: Array, n: int) -> Array:
        return x.reshape(len(x), n, math.prod(x.shape[1:]) // n)

    def part(self, x: Array, begin: int, n: int) -> Array:
        return np.ascontiguousarray(x[..., begin : begin + n])

    def concat(self, x: Array, y: Array) -> Array:
        return np.concatenate([_flat(x), _flat(y)], axis=1)

    def rope(self, x: Array, rope: Rope) -> Array:
        cos, sin = (each[self._rows.of(len(x))] for each in self._turn(rope))
        half = rope.dims // 2
        first, second = (slice(0, half), slice(half, rope.dims))
        if rope.style == "norm":
            first, second = (slice(0, rope.dims, 2), slice(1, rope.dims, 2))
        a, b = x[..., first], x[..., second]
        y = x.copy()
        y[..., first], y[..., second] = a * cos - b * sin, b * cos + a * sin
        return y

    def attention(self, q: Array, k: Array, v: Array, *, layer: int, scale: float) -> Array:
        self.write_kv(k, v, layer=layer)
        n_heads, head_dim = q.shape[1:]
        n_kv_heads = k.shape[1]
        grouped = (q * np.float32(scale)).reshape(-1, n_kv_heads, n_heads // n_kv_heads, head_dim)
        out = np.empty_like(grouped)
        rows = self._rows.of(len(q))
        for span in self._rows.spans:
            begin = span.segment.first
            keys, values = self._cache.read(layer, span.places[begin:])
            keys, values = keys.transpose(1, 2, 0), values.transpose(1, 0, 2)  # [G, K, C], [G, C, K]
            for i in np.flatnonzero((rows >= span.first) & (rows < span.first + span.n_rows)):
                end = span.start + int(rows[i]) - span.first + 1 - begin
                scores = grouped[i] @ keys[..., :end]  # [G, H / G, end]
                scores -= scores.max(axis=-1, keepdims=True)
                weights = np.exp(scores, out=scores)
                np.matmul(weights, values[:, :end], out=out[i])
                out[i] /= weights.sum(axis=-1, keepdims=True)
        return out.reshape(len(q), n_heads * head_dim)

    def conv(self, x: Array, weight: WeightRef, *, layer: int, silu: bool = False) -> Array:
        y = recurrent.conv(x, self._tensors(weight), self._rows.spans, self._state, layer)
        return self.silu(y) if silu else y

    def decay(self, a: Array, rate: WeightRef, bias: WeightRef) -> Array:
        softplus = np.logaddexp(np.float32(0), _flat(a) + self._tensors(bias))
        y: Array = np.exp(self._tensors(rate) * softplus)
        return y

    def gated_delta(
        self, q: Array, k: Array, v: Array, decay: Array, beta: Array, *, layer: int, tiled: bool = True
    ) -> Array:
        return recurrent.gated_delta(
            q, Updates(k, v, _flat(decay), _flat(beta)), self._rows.spans, self._state, layer, tiled
        )

    def experts(
        self,
        x: Array,
        router: Array,
        gate: WeightRef,
        up: WeightRef,
        down: WeightRef,
        *,
        n_used: int,
        norm_topk: bool = True,
    ) -> Array:
        gates, ups, downs = self._tensors(gate), self._tensors(up), self._tensors(down)
        out = np.zeros_like(x)
        for i, row in enumerate(x):
            shares = np.exp(router[i] - router[i].max())
            shares /= shares.sum()
            used = np.argsort(-shares, kind="stable")[:n_used]
            shares = shares[used] / shares[used].sum() if norm_topk else shares[used]
            for share, e in zip(shares, used, strict=True):
                h = self.swiglu(gates[e] @ row, ups[e] @ row)
                out[i] += share * (downs[e] @ h)
        return out

    def exported(self, x: Array) -> Array:
        return x[self._rows.exported]

    def wanted(self, x: Array) -> Array:
        # Indices ascend, so the place of a wanted row among those of x is found by searching.
        return x[np.searchsorted(self._rows.of(len(x)), self._rows.wanted)]

    def output(self, name: str, x: Array) -> None:
        self.outputs[name] = x

    def write_kv(self, k: Array, v: Array, *, layer: int) -> None:
        """Write k, v to the layer's cache: what a pass leaves of an attention that nobody reads."""
        self._cache.write(layer, self._rows.places, k, v)

    def swiglu(self, gate: Array, up: Array) -> Array:
        """Return silu(gate) * up: made by a pass over plans."""
        return self.mul(self.silu(gate), up)

    def norm_swiglu(self, gate: Array, x: Array, weight: WeightRef, eps: float) -> Array:
        """Return silu(gate) * rms_norm(x): made by a pass over plans."""
        return self.swiglu(gate, self.rms_norm(x, weight, eps))

    def gated(self, x: Array, gate: Array) -> Array:
        """Return x * sigmoid(gate): made by a pass over plans."""
        return self.mul(x, self.sigmoid(gate))

    def linear_add(self, x: Array, y: Array, weight: WeightRef) -> Array:
        """Return y + x @ weight.T: made by a pass over plans."""
        return self.add(y, self.linear(x, weight))

    def _turn(self, rope: Rope) -> tuple[Array, Array]:
        """Return cos and sin [T, 1, dims / 2] of every row's angles, computed in float64."""
        if rope not in self._turns:
            frequency = rope.base ** (-np.arange(0, rope.dims, 2) / rope.dims) / rope.scale
            if rope.factors is not None:
                frequency = frequency / self._tensors(rope.factors)
            angles = (self._rows.positions[:, None] * frequency)[:, None, :]
            self._turns[rope] = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        return self._turns[rope]


def _flat(x: Array) -> Array:
    return x.reshape(len(x), math.prod(x.shape[1:]))  # there may be no rows
