"""Plans rewritten into plans that do the same with fewer passes over memory; each keeps every bit."""

from __future__ import annotations

from types import MappingProxyType

from outpace.gguf.types import GGMLType
from outpace.gguf.weights import WeightRef
from outpace.graph.fusion import fuse, rebuild
from outpace.graph.plan import EXPORTED, STATEFUL, TOKENS, WANTED, Node, Plan

# Verbs whose result for a row depends on that row of their inputs alone, wherever it stands in the step.
ROW_WISE = frozenset(
    {
        *("add", "mul", "scale", "silu", "sigmoid", "swiglu", "rms_norm", "l2_norm", "heads", "part", "concat", "rope"),
        *("linear", "linear_add", "decay", "experts", "gated", "norm_swiglu"),
    }
)
# Each kind of rows is among those that follow it.
ORDER = (WANTED, EXPORTED, TOKENS)
PICKS = MappingProxyType({"wanted": WANTED, "exported": EXPORTED})


def hoist_wanted(plan: Plan) -> Plan:
    """Compute each value only for the rows that are read: wanted and exported ones are picked as early as can be.

    Stateful verbs take in every row. An attention reads keys and values of all rows but queries only of those whose
    result is read, so in a program's last layer little more than its keys and values is computed for the other rows.
    """
    read = _rows_read(plan)
    nodes: list[Node] = []
    found: dict[tuple[int, str], int] = {}  # (value of `plan`, its rows) -> value of the new plan

    def rows_of(value: int, rows: str) -> int:
        if (value, rows) not in found:
            source = found[value, _computed(plan.nodes[value], read[value])]
            verb = next(verb for verb, kind in PICKS.items() if kind == rows)
            nodes.append(Node(verb, (source,), (), (rows, *nodes[source].shape[1:])))
            found[value, rows] = len(nodes) - 1
        return found[value, rows]

    for i, node in enumerate(plan.nodes):
        if node.verb in PICKS:
            found[i, PICKS[node.verb]] = rows_of(node.inputs[0], PICKS[node.verb])
            continue
        rows = _computed(node, read[i])
        inputs = tuple(rows_of(v, need) for v, need in zip(node.inputs, _inputs_read(node, rows), strict=True))
        nodes.append(Node(node.verb, inputs, node.weights, (rows, *node.shape[1:]), node.attrs))
        found[i, rows] = len(nodes) - 1
    outputs = {name: found[i, str(plan.nodes[i].shape[0])] for name, i in plan.outputs.items()}
    return Plan(plan.program, tuple(nodes), MappingProxyType(outputs))


def _rows_read(plan: Plan) -> list[str]:
    """Return, for each value, the rows of it that somebody reads."""
    read: list[str | None] = [None] * len(plan.nodes)
    for i in plan.outputs.values():
        read[i] = str(plan.nodes[i].shape[0])
    for i in reversed(range(len(plan.nodes))):
        node = plan.nodes[i]
        read[i] = own = read[i] or str(node.shape[0])
        for value, rows in zip(node.inputs, _inputs_read(node, _computed(node, own)), strict=True):
            read[value] = max(read[value] or WANTED, rows, key=ORDER.index)
    return [rows or TOKENS for rows in read]


def _computed(node: Node, read: str) -> str:
    """Return the rows a node computes when `read` are read of it."""
    return read if node.verb in ROW_WISE or node.verb == "attention" else str(node.shape[0])


def _inputs_read(node: Node, rows: str) -> list[str]:
    """Return the rows a node reads of each input to compute `rows`."""
    if node.verb in PICKS:
        return [PICKS[node.verb]]
    if node.verb == "attention":
        return [rows, TOKENS, TOKENS]
    return [rows if node.verb in ROW_WISE else TOKENS] * len(node.inputs)


def kv_only(plan: Plan) -> Plan:
    """Keep what a sequence's state needs and nothing else: a plan without outputs, for rows to catch up with.

    An attention that nobody reads any more becomes `write_kv(k, v)`; its queries and all that follows it go.
    """
    nodes = list(plan.nodes)
    needed: set[int] = set()
    for i in reversed(range(len(nodes))):
        node = nodes[i]
        if node.verb == "attention" and i not in needed:
            attrs = MappingProxyType({"layer": node.attrs["layer"]})
            nodes[i] = node = Node("write_kv", node.inputs[1:], (), (TOKENS, 0), attrs)
        if i in needed or node.verb in STATEFUL:
            needed.update(node.inputs)
            needed.add(i)
    return rebuild(Plan(plan.program, tuple(nodes), MappingProxyType({})), {})


def by_head(plan: Plan) -> tuple[Plan, ...]:
    """Return a draft program's heads, each as a program with `logits` of its own: the program itself if it is one."""
    if "logits" in plan.outputs:
        return (plan,)
    heads = [MappingProxyType({"logits": at}) for at in plan.outputs.values()]
    return tuple(rebuild(Plan(plan.program, plan.nodes, outputs), {}) for outputs in heads)


def projection(plan: Plan) -> WeightRef:
    """Return the matrix [V, D] that makes a draft program's logits, of all its heads."""
    found = {plan.nodes[at].weights[0] for name, at in plan.outputs.items() if name.startswith("logits")}
    assert len(found) == 1, "heads of one program share their projection"
    return found.pop()


def trim_head(plan: Plan, n: int) -> Plan:
    """Return a draft program whose vocabulary projection has n of its rows, in Q4_0.

    Which rows (of `WeightRef.rows_of`) is settled once the program is loaded.
    """
    whole = projection(plan)
    width = whole.shape[1]
    ref = WeightRef(f"{n} rows of {whole.name}", GGMLType.Q4_0, (n, width), n * width // 32 * 18, whole)
    nodes = list(plan.nodes)
    for name, at in plan.outputs.items():
        if name.startswith("logits"):
            node = nodes[at]
            nodes[at] = Node(node.verb, node.inputs, (ref,), (node.shape[0], n), node.attrs)
    return Plan(plan.program, tuple(nodes), plan.outputs)


def optimise(plan: Plan) -> Plan:
    """Apply every pass."""
    return hoist_wanted(fuse(plan))
