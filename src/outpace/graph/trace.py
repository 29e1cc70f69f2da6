"""Record a definition once into a plan, checking every shape; touches no tensor bytes."""

# ruff: noqa: D102 - the verbs are documented in graph/ops.py

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from outpace.gguf.weights import WeightRef
from outpace.graph.ops import Ops, Rope
from outpace.graph.plan import EXPORTED, TOKENS, WANTED, Node, Plan, Shape


@dataclass(frozen=True, slots=True)
class Traced:
    """A value that will exist: which node defines it and what shape it will have."""

    id: int
    shape: Shape


class Tracer:
    """An `Ops` whose verbs record instead of computing."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._nodes: list[Node] = []
        self._outputs: dict[str, int] = {}

    def plan(self) -> Plan:
        """Return what was recorded so far."""
        return Plan(self._program, tuple(self._nodes), MappingProxyType(dict(self._outputs)))

    def _record(
        self, verb: str, inputs: tuple[Traced, ...], shape: Shape, weights: tuple[WeightRef, ...] = (), **attrs: Any
    ) -> Traced:
        ids = tuple(x.id for x in inputs)
        self._nodes.append(Node(verb, ids, weights, shape, MappingProxyType(attrs)))
        return Traced(len(self._nodes) - 1, shape)

    def embed(self, table: WeightRef) -> Traced:
        return self._record("embed", (), (TOKENS, table.shape[1]), (table,))

    def hidden(self, width: int) -> Traced:
        return self._record("hidden", (), (TOKENS, width), width=width)

    def linear(self, x: Traced, weight: WeightRef, bias: WeightRef | None = None) -> Traced:
        rows, width = weight.shape
        _expect("linear", (_width(x.shape),), (width,))
        return self._record("linear", (x,), (x.shape[0], rows), (weight,) if bias is None else (weight, bias))

    def add(self, x: Traced, y: Traced) -> Traced:
        _expect("add", y.shape, x.shape)
        return self._record("add", (x, y), x.shape)

    def mul(self, x: Traced, y: Traced) -> Traced:
        if y.shape != (x.shape[0], 1):
            _expect("mul", y.shape, x.shape)
        return self._record("mul", (x, y), x.shape)

    def scale(self, x: Traced, factor: float) -> Traced:
        return self._record("scale", (x,), x.shape, factor=factor)

    def silu(self, x: Traced) -> Traced:
        return self._record("silu", (x,), x.shape)

    def sigmoid(self, x: Traced) -> Traced:
        return self._record("sigmoid", (x,), x.shape)

    def rms_norm(self, x: Traced, weight: WeightRef, eps: float) -> Traced:
        _expect("rms_norm", weight.shape, x.shape[-1:])
        return self._record("rms_norm", (x,), x.shape, (weight,), eps=eps)

    def l2_norm(self, x: Traced, eps: float) -> Traced:
        return self._record("l2_norm", (x,), x.shape, eps=eps)

    def heads(self, x: Traced, n: int) -> Traced:
        width = _width(x.shape)
        _expect("heads", (width % n,), (0,))
        return self._record("heads", (x,), (x.shape[0], n, width // n), n=n)

    def part(self, x: Traced, begin: int, n: int) -> Traced:
        width = x.shape[-1]
        assert isinstance(width, int)
        assert begin >= 0 and n > 0 and begin + n <= width, f"part: {begin} to {begin + n} of {width}"
        return self._record("part", (x,), (*x.shape[:-1], n), begin=begin, n=n)

    def concat(self, x: Traced, y: Traced) -> Traced:
        _expect("concat", y.shape[:1], x.shape[:1])
        return self._record("concat", (x, y), (x.shape[0], _width(x.shape) + _width(y.shape)))

    def rope(self, x: Traced, rope: Rope) -> Traced:
        head_dim = x.shape[-1]
        assert isinstance(head_dim, int)
        assert rope.dims % 2 == 0 and rope.dims <= head_dim, f"rope turns {rope.dims} of {head_dim} dimensions"
        return self._record("rope", (x,), x.shape, (rope.factors,) if rope.factors else (), rope=rope)

    def attention(self, q: Traced, k: Traced, v: Traced, *, layer: int, scale: float) -> Traced:
        _expect("attention", v.shape, k.shape)
        rows, n_heads, head_dim = q.shape
        assert isinstance(n_heads, int) and isinstance(head_dim, int) and isinstance(k.shape[1], int)
        _expect("attention", (k.shape[2], n_heads % k.shape[1]), (head_dim, 0))
        return self._record("attention", (q, k, v), (rows, n_heads * head_dim), layer=layer, scale=scale)

    def conv(self, x: Traced, weight: WeightRef, *, layer: int) -> Traced:
        _expect("conv", x.shape, (TOKENS, weight.shape[0]))
        return self._record("conv", (x,), x.shape, (weight,), layer=layer)

    def decay(self, a: Traced, rate: WeightRef, bias: WeightRef) -> Traced:
        _expect("decay", bias.shape, rate.shape)
        _expect("decay", (_width(a.shape),), rate.shape)
        return self._record("decay", (a,), (a.shape[0], *rate.shape), (rate, bias))

    def gated_delta(
        self, q: Traced, k: Traced, v: Traced, decay: Traced, beta: Traced, *, layer: int, tiled: bool = True
    ) -> Traced:
        rows, n_heads, _ = v.shape
        _expect("gated_delta", k.shape, q.shape)
        _expect("gated_delta", k.shape[:1], v.shape[:1])
        assert isinstance(n_heads, int) and isinstance(k.shape[1], int)
        _expect("gated_delta", (n_heads % k.shape[1],), (0,))
        for each in (decay, beta):
            _expect("gated_delta", (each.shape[0], _width(each.shape)), (rows, n_heads))
        return self._record("gated_delta", (q, k, v, decay, beta), v.shape, layer=layer, tiled=tiled)

    def experts(
        self,
        x: Traced,
        router: Traced,
        gate: WeightRef,
        up: WeightRef,
        down: WeightRef,
        *,
        n_used: int,
        norm_topk: bool = True,
    ) -> Traced:
        rows, width = x.shape
        n_experts, d_ff, _ = gate.shape
        _expect("experts", (*gate.shape, *up.shape), (n_experts, d_ff, width) * 2)
        _expect("experts", down.shape, (n_experts, width, d_ff))
        _expect("experts", router.shape, (rows, n_experts))
        assert 0 < n_used <= n_experts, f"experts: {n_used} of {n_experts} used"
        return self._record("experts", (x, router), x.shape, (gate, up, down), n_used=n_used, norm_topk=norm_topk)

    def exported(self, x: Traced) -> Traced:
        _expect("exported", x.shape[:1], (TOKENS,))
        return self._record("exported", (x,), (EXPORTED, *x.shape[1:]))

    def wanted(self, x: Traced) -> Traced:
        assert x.shape[0] != WANTED, "wanted: rows that are wanted already"
        return self._record("wanted", (x,), (WANTED, *x.shape[1:]))

    def output(self, name: str, x: Traced) -> None:
        assert name not in self._outputs, f"output '{name}' is named twice"
        self._outputs[name] = x.id


def trace(program: str, function: Callable[[Ops], None]) -> Plan:
    """Record what `function` does with its verbs as the plan of `program`.

    Raises:
        ModelFileError: A tensor the definition asks for is missing or of another shape.
    """
    tracer = Tracer(program)
    function(tracer)
    return tracer.plan()


def _width(shape: Shape) -> int:
    """Return the numbers in one row."""
    return math.prod(n for n in shape[1:] if isinstance(n, int))


def _expect(verb: str, found: Shape, expected: Shape) -> None:
    assert tuple(found) == tuple(expected), f"{verb}: shape {tuple(found)} where {tuple(expected)} is needed"
