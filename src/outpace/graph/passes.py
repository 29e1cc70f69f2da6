"""Plans rewritten into plans that do the same with fewer passes over memory; each keeps every bit."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from outpace.graph.plan import Node, Plan


def fuse_swiglu(plan: Plan) -> Plan:
    """Turn mul(silu(gate), up) into one verb `swiglu(gate, up)`."""
    readers = plan.readers()
    replaced: dict[int, Node] = {}
    for i, node in enumerate(plan.nodes):
        if node.verb != "mul":
            continue
        gate, up = node.inputs
        if plan.nodes[gate].verb == "silu" and readers[gate] == [i] and gate not in plan.outputs.values():
            replaced[i] = Node("swiglu", (plan.nodes[gate].inputs[0], up), (), node.shape)
    return _rebuild(plan, replaced)


def fuse_residual(plan: Plan) -> Plan:
    """Turn add(x, linear(y, w)) into one verb `linear_add(y, x; w)`: the sum is formed as the product is stored."""
    readers = plan.readers()
    replaced: dict[int, Node] = {}
    for i, node in enumerate(plan.nodes):
        if node.verb != "add":
            continue
        x, product = node.inputs
        linear = plan.nodes[product]
        if linear.verb == "linear" and len(linear.weights) == 1 and readers[product] == [i]:
            replaced[i] = Node("linear_add", (linear.inputs[0], x), linear.weights, node.shape)
    return _rebuild(plan, replaced)


def optimise(plan: Plan) -> Plan:
    """Apply every pass."""
    return fuse_residual(fuse_swiglu(plan))


def _rebuild(plan: Plan, replaced: Mapping[int, Node]) -> Plan:
    """Return the plan with some nodes replaced and what nobody reads any more left out."""
    nodes = [replaced.get(i, node) for i, node in enumerate(plan.nodes)]
    needed = set(plan.outputs.values())
    for i in reversed(range(len(nodes))):
        if i in needed or nodes[i].verb == "attention":
            needed.update(nodes[i].inputs)
            needed.add(i)
    moved: dict[int, int] = {}
    kept: list[Node] = []
    for i, node in enumerate(nodes):
        if i in needed:
            moved[i] = len(kept)
            kept.append(Node(node.verb, tuple(moved[v] for v in node.inputs), node.weights, node.shape, node.attrs))
    return Plan(plan.program, tuple(kept), MappingProxyType({name: moved[i] for name, i in plan.outputs.items()}))
