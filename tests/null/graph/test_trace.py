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
        (lambda ops, x: (ops.output("logits", x), ops.output("logits", x)), "named twice"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(program: Callable, message: str):
    with pytest.raises(AssertionError, match=message):
        trace("trunk", lambda ops: program(ops, ops.embed(w("table", 10, 8))))
