"""Verbs of a plan joined where one reads another's result and nobody else does; each keeps every bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from types import MappingProxyType
from typing import TypeAlias

from outpace.graph.plan import STATEFUL, Node, Plan


def fuse(plan: Plan) -> Plan:
    """Apply every fusion."""
    for each in (fuse_swiglu, fuse_norm, fuse_gate, fuse_conv, fuse_scale, fuse_residual):
        plan = each(plan)
    return plan


def fuse_swiglu(plan: Plan) -> Plan:
    """Turn mul(silu(gate), up) into one verb `swiglu(gate, up)`."""

    def join(node: Node, inner: Inner) -> Node | None:
        gate, up = inner(node.inputs[0]), plan.nodes[node.inputs[1]]
        if node.verb == "mul" and gate is not None and gate.verb == "silu" and gate.shape == up.shape:
            return Node("swiglu", (gate.inputs[0], node.inputs[1]), (), node.shape)
        return None

    return _join(plan, join, 2)


def fuse_norm(plan: Plan) -> Plan:
    """Turn swiglu(gate, rms_norm(x)) into one verb `norm_swiglu(gate, x)`."""

    def join(node: Node, inner: Inner) -> Node | None:
        norm = inner(node.inputs[1])
        if node.verb == "swiglu" and norm is not None and norm.verb == "rms_norm":
            return Node("norm_swiglu", (node.inputs[0], norm.inputs[0]), norm.weights, node.shape, norm.attrs)
        return None

    return _join(plan, join, 2)


def fuse_gate(plan: Plan) -> Plan:
    """Turn mul(x, sigmoid(gate)) into one verb `gated(x, gate)`."""

    def join(node: Node, inner: Inner) -> Node | None:
        gate = inner(node.inputs[1])
        if node.verb == "mul" and gate is not None and gate.verb == "sigmoid" and gate.shape == node.shape:
            return Node("gated", (node.inputs[0], gate.inputs[0]), (), node.shape)
        return None

    return _join(plan, join, 2)


def fuse_conv(plan: Plan) -> Plan:
    """Turn silu(conv(x)) into a `conv` that applies it."""

    def join(node: Node, inner: Inner) -> Node | None:
        conv = inner(node.inputs[0])
        if node.verb == "silu" and conv is not None and conv.verb == "conv":
            return Node("conv", conv.inputs, conv.weights, node.shape, MappingProxyType({**conv.attrs, "silu": True}))
        return None

    return _join(plan, join, 1)


def fuse_scale(plan: Plan) -> Plan:
    """Turn scale(l2_norm(x)) into an `l2_norm` that scales."""

    def join(node: Node, inner: Inner) -> Node | None:
        norm = inner(node.inputs[0])
        if node.verb == "scale" and norm is not None and norm.verb == "l2_norm" and "factor" not in norm.attrs:
            attrs = MappingProxyType({**norm.attrs, **node.attrs})
            return Node("l2_norm", norm.inputs, (), node.shape, attrs)
        return None

    return _join(plan, join, 1)


def fuse_residual(plan: Plan) -> Plan:
    """Turn add(x, linear(y, w)) into one verb `linear_add(y, x; w)`: the sum is formed as the product is stored."""

    def join(node: Node, inner: Inner) -> Node | None:
        linear = inner(node.inputs[1])
        if node.verb == "add" and linear is not None and linear.verb == "linear" and len(linear.weights) == 1:
            return Node("linear_add", (linear.inputs[0], node.inputs[0]), linear.weights, node.shape)
        return None

    return _join(plan, join, 2)


# Returns the node of a value that only the node at hand reads, else None.
Inner: TypeAlias = Callable[[int], Node | None]


def _join(plan: Plan, join: Callable[[Node, Inner], Node | None], n_inputs: int) -> Plan:
    """Replace every node with so many inputs that `join` has another for."""
    readers, outputs = plan.readers(), set(plan.outputs.values())
    replaced: dict[int, Node] = {}
    absorbed: set[int] = set()
    for i, node in enumerate(plan.nodes):

        def inner(value: int, i: int = i) -> Node | None:
            return plan.nodes[value] if readers[value] == [i] and value not in outputs else None

        joined = join(node, inner) if len(node.inputs) == n_inputs else None
        if joined is not None:
            replaced[i] = joined
            absorbed.update(value for value in node.inputs if value not in joined.inputs)
    return rebuild(plan, replaced, absorbed)


def rebuild(plan: Plan, replaced: Mapping[int, Node], absorbed: Set[int] = frozenset()) -> Plan:
    """Return the plan with some nodes replaced, without those that others absorbed or that nobody reads any more."""
    nodes = [replaced.get(i, node) for i, node in enumerate(plan.nodes)]
    needed = set(plan.outputs.values())
    for i in reversed(range(len(nodes))):
        if i in needed or (nodes[i].verb in STATEFUL and i not in absorbed):
            needed.update(nodes[i].inputs)
            needed.add(i)
    moved: dict[int, int] = {}
    kept: list[Node] = []
    for i, node in enumerate(nodes):
        if i in needed:
            moved[i] = len(kept)
            kept.append(Node(node.verb, tuple(moved[v] for v in node.inputs), node.weights, node.shape, node.attrs))
    return Plan(plan.program, tuple(kept), MappingProxyType({name: moved[i] for name, i in plan.outputs.items()}))
