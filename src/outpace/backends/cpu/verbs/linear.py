"""Matrix products: those of one input together, the sum with a residual inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import MappingProxyType

from outpace.backends.cpu import weights
from outpace.backends.cpu.buffers import NO_CODES, NONE
from outpace.backends.cpu.lowering import Lowering
from outpace.backends.cpu.verbs.rows import quantise
from outpace.graph.plan import Node


def _linear(lowering: Lowering, i: int, node: Node) -> None:
    """Lower a linear together with the others that read the same value: one instruction."""
    values, nodes = lowering.values, lowering.plan.nodes
    source = values.resolve(node.inputs[0])
    quantised = weights.kernel_type(node.weights[0]).is_quantised
    if quantised and lowering.buffer(source).q == NONE:
        quantise(lowering, source)
    group = list(_group(lowering, i, node, source, quantised))
    x = lowering.buffer(source)
    reads = x.code_extents() if quantised else x.float_extents()
    outs, residuals = [], []
    for index in group:
        residual = NONE
        if nodes[index].verb == "linear_add":
            value = values.resolve(nodes[index].inputs[1])
            operand = lowering.buffer(value)
            residual = operand.floats
            reads += operand.float_extents()
            if values.is_last(value, index) and operand.q == NONE and not operand.is_view:
                lowering.move(value, index)  # the sum takes the place of its operand
            assert operand.stride == -(-values.width(index) // 32) * 32, "a residual lies like the sum"
        outs.append(lowering.buffer_if_any(index) or lowering.new(index))
        residuals.append(residual)
    lowering.done.update(group[1:])
    lowering.emit(
        "add_linear",
        reads,
        [extent for out in outs for extent in out.float_extents()],
        rows=lowering.kind(i),
        x=NONE if quantised else x.floats,
        x_stride=x.stride,
        codes=x.codes() if quantised else NO_CODES,
        weights=[nodes[index].weights[0] for index in group],
        outs=[out.floats for out in outs],
        strides=[out.stride for out in outs],
        residuals=residuals,
        biases=[(nodes[index].weights[1:] or (None,))[0] for index in group],
    )


def _group(lowering: Lowering, i: int, node: Node, source: int, quantised: bool) -> Iterator[int]:
    yield i
    if node.verb != "linear":
        return
    for other in lowering.values.real_readers(source):
        candidate = lowering.plan.nodes[other]
        is_free = other > i and other not in lowering.done and candidate.verb == "linear"
        if is_free and weights.kernel_type(candidate.weights[0]).is_quantised == quantised:
            yield other


VERBS: MappingProxyType[str, Callable[[Lowering, int, Node], None]] = MappingProxyType(
    {"linear": _linear, "linear_add": _linear}
)
