"""Plans rewritten into plans that do the same with fewer passes over memory; each keeps every bit."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from outpace.graph.plan import WANTED, Node, Plan


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


# Verbs whose result for a row depends on that row of their inputs alone, wherever it stands.
ROW_WISE = frozenset({"add", "mul", "scale", "silu", "swiglu", "rms_norm", "heads", "linear", "linear_add"})


def hoist_wanted(plan: Plan) -> Plan:
    """Pick the wanted rows as early as rows are independent: after the last attention, before what follows it."""
    wanted = [i for i, node in enumerate(plan.nodes) if node.verb == "wanted"]
    if len(wanted) != 1:
        return plan
    late = _read_only_by(plan, wanted[0])
    if not late:
        return plan
    nodes: list[Node] = []
    moved: dict[int, int] = {}
    gathered: dict[int, int] = {}

    def rows_of(value: int) -> int:
        if value in late:
            return moved[value]
        if value not in gathered:
            source = nodes[moved[value]]
            nodes.append(Node("wanted", (moved[value],), (), (WANTED, *source.shape[1:])))
            gathered[value] = len(nodes) - 1
        return gathered[value]

    for i, node in enumerate(plan.nodes):
        if i == wanted[0]:
            moved[i] = rows_of(node.inputs[0])
            continue
        inputs = tuple(rows_of(value) if i in late else moved[value] for value in node.inputs)
        shape = (WANTED, *node.shape[1:]) if i in late else node.shape
        nodes.append(Node(node.verb, inputs, node.weights, shape, node.attrs))
        moved[i] = len(nodes) - 1
    return Plan(plan.program, tuple(nodes), MappingProxyType({name: moved[i] for name, i in plan.outputs.items()}))


def _read_only_by(plan: Plan, reader: int) -> set[int]:
    """Return the row-wise nodes that nobody but `reader` reads, directly or through each other."""
    readers = plan.readers()
    found: set[int] = set()
    for i in reversed(range(reader)):
        is_read = readers[i] and all(each in found or each == reader for each in readers[i])
        if plan.nodes[i].verb in ROW_WISE and is_read and i not in plan.outputs.values():
            found.add(i)
    return found


def optimise(plan: Plan) -> Plan:
    """Apply every pass."""
    return hoist_wanted(fuse_residual(fuse_swiglu(plan)))


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
