"""Tracing records what a definition does and refuses shapes that do not fit."""

from collections.abc import Callable

import pytest

from outpace.gguf.types import GGMLType
from outpace.gguf.weights import WeightRef
from outpace.graph.ops import Ops, Rope
from outpace.graph.trace import trace


def w(name: str, *shape: int) -> WeightRef:
    return WeightRef(name, GGMLType.F32, shape, 0)


def test_a_plan_prints_as_the_program_it_is():
    def program(ops: Ops) -> None:
        x = ops.embed(w("table", 10, 8))
        ops.output("logits", ops.linear(ops.wanted(ops.scale(x, 2.0)), w("head", 10, 8), w("bias", 10)))

    assert str(trace("trunk", program)) == (
        "trunk:\n"
        "%0 = embed(table) -> [T, 8]\n"
        "%1 = scale(%0, factor=2.0) -> [T, 8]\n"
        "%2 = wanted(%1) -> [W, 8]\n"
        "%3 = linear(%2, head, bias) -> [W, 10]\n"
        "logits = %3"
    )


def test_weights_of_a_plan_come_once_each_in_order_of_use():
    def program(ops: Ops) -> None:
        x = ops.linear(ops.embed(w("table", 8, 8)), w("a", 8, 8))
        ops.output("logits", ops.linear(ops.linear(x, w("b", 8, 8)), w("table", 8, 8)))

    assert list(trace("trunk", program).weights()) == ["table", "a", "b"]


def delta(ops: Ops, x, key_heads: int, heads: int, gates: int | None = None):
    """A gated-delta layer with heads of two."""
    k = ops.heads(ops.linear(x, w("k", 2 * key_heads, 8)), key_heads)
    v = ops.heads(ops.linear(x, w("v", 2 * heads, 8)), heads)
    gate = ops.linear(x, w("g", gates or heads, 8))
    return ops.gated_delta(k, k, v, gate, gate, layer=0)


def mixture(ops: Ops, x, n_used: int = 2, routed: int = 4, d_ff: int = 6):
    """Four experts, of which `routed` have a share."""
    router = ops.linear(x, w("r", routed, 8))
    return ops.experts(x, router, w("g", 4, 6, 8), w("u", 4, d_ff, 8), w("d", 4, 8, 6), n_used=n_used)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (lambda ops, x: ops.linear(x, w("a", 4, 9)), r"linear: shape \(8,\) where \(9,\)"),
        (lambda ops, x: ops.add(x, ops.heads(x, 2)), "add: shape"),
        (lambda ops, x: ops.mul(x, ops.wanted(x)), "mul: shape"),
        (lambda ops, x: ops.rms_norm(x, w("n", 7), 1e-5), "rms_norm: shape"),
        (lambda ops, x: ops.heads(x, 3), "heads: shape"),
        (lambda ops, x: ops.rope(ops.heads(x, 2), Rope(6, 1e4, "neox")), "rope turns 6 of 4"),
        (
            lambda ops, x: ops.attention(ops.heads(x, 2), ops.heads(x, 4), ops.heads(x, 4), layer=0, scale=1.0),
            "attention: shape",
        ),
        (
            lambda ops, x: ops.attention(ops.heads(x, 2), ops.heads(x, 2), ops.heads(x, 4), layer=0, scale=1.0),
            "attention: shape",
        ),
        (lambda ops, x: ops.part(x, 5, 4), "part: 5 to 9 of 8"),
        (lambda ops, x: ops.concat(x, ops.wanted(x)), "concat: shape"),
        (lambda ops, x: ops.conv(x, w("c", 7, 4), layer=0), "conv: shape"),
        (lambda ops, x: ops.conv(ops.exported(x), w("c", 8, 4), layer=0), "conv: shape"),
        (lambda ops, x: ops.decay(x, w("a", 8), w("b", 7)), "decay: shape"),
        (lambda ops, x: ops.decay(x, w("a", 4), w("b", 4)), "decay: shape"),
        (lambda ops, x: delta(ops, x, key_heads=2, heads=3), "gated_delta: shape"),
        (lambda ops, x: delta(ops, x, key_heads=2, heads=4, gates=2), "gated_delta: shape"),
        (lambda ops, x: mixture(ops, x, n_used=5), "experts: 5 of 4 used"),
        (lambda ops, x: mixture(ops, x, routed=3), "experts: shape"),
        (lambda ops, x: mixture(ops, x, d_ff=5), "experts: shape"),
        (lambda ops, x: ops.exported(ops.wanted(x)), "exported: shape"),
        (lambda ops, x: ops.wanted(ops.wanted(x)), "wanted already"),
        (lambda ops, x: (ops.output("logits", x), ops.output("logits", x)), "named twice"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(program: Callable, message: str):
    with pytest.raises(AssertionError, match=message):
        trace("trunk", lambda ops: program(ops, ops.embed(w("table", 10, 8))))
