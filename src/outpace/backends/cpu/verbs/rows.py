"""Verbs on rows by themselves: look-ups, picks, parts, and what is computed value by value."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType

from outpace.backends.cpu.buffers import NOWHERE, Buffer
from outpace.backends.cpu.lowering import Lowering
from outpace.backends.cpu.values import ROW_VERBS as _ROW_VERBS
from outpace.backends.cpu.values import RowVerb
from outpace.gguf.weights import WeightRef
from outpace.graph.plan import Node

# They work on each head of a row alone.
_NORMS = frozenset({RowVerb.NORM, RowVerb.L2_NORM, RowVerb.NORM_SWIGLU})


def _embed(lowering: Lowering, i: int, node: Node) -> None:
    buffer = lowering.new(i)
    lowering.emit(
        "add_embed", [], buffer.float_extents(), table=node.weights[0], out=buffer.floats, stride=buffer.stride
    )


def _hidden(lowering: Lowering, i: int, _: Node) -> None:
    buffer = lowering.new(i)
    lowering.emit("add_hidden", [], buffer.float_extents(), width=buffer.width, out=buffer.floats, stride=buffer.stride)


def _pick(lowering: Lowering, i: int, node: Node) -> None:
    source, buffer = lowering.buffer(node.inputs[0]), lowering.new(i)
    lowering.emit(
        "add_gather", source.float_extents(), buffer.float_extents(), source_rows=lowering.kind(node.inputs[0]),
        rows=lowering.kind(i), x=source.floats, x_stride=source.stride, out=buffer.floats, stride=buffer.stride,
        n=buffer.width,
    )  # fmt: skip


def _heads(lowering: Lowering, i: int, node: Node) -> None:
    """Do nothing: `heads` only changes how rows are read."""


def _part(lowering: Lowering, i: int, node: Node) -> None:
    """Take a part of a row, or of every head of it: by a view where all readers can step over the rest."""
    source = lowering.buffer(node.inputs[0])
    width = lowering.values.width(i)
    if len(node.shape) > 2:
        *_, group = lowering.plan.nodes[node.inputs[0]].shape
        assert isinstance(group, int)
        view = source.part(node.attrs["begin"], width, source.width // group, group)
    else:
        view = source.part(node.attrs["begin"], width)
    if lowering.values.is_view(i):
        lowering.view(i, view)
    else:
        floats, q = lowering.values.needs(i)
        _emit(lowering, i, RowVerb.COPY, (view,), lowering.new(i, floats=floats or not q, q=q), view.groups)


def _concat(lowering: Lowering, i: int, node: Node) -> None:
    """Put two values side by side, where they are not already."""
    whole = lowering.buffer_if_any(i) or lowering.new(i)
    begin = 0
    for value in node.inputs:
        source = lowering.buffer(value)
        place = whole.part(begin, source.width)
        if not (source.is_view and source.floats == place.floats):
            _emit(lowering, value, RowVerb.COPY, (source,), place, 1)
        begin += source.width


def _row_verb(lowering: Lowering, i: int, node: Node) -> None:
    verb = _ROW_VERBS[node.verb]
    inputs = tuple(lowering.buffer(value) for value in node.inputs)
    if verb is RowVerb.MUL and inputs[1].width != inputs[0].width:
        verb = RowVerb.MUL_ROW
    floats, q = lowering.values.needs(i)
    # Without a float result only the codes are kept; the kernel works in the thread's scratch.
    _emit(
        lowering, i, verb, inputs, lowering.new(i, floats=floats, q=q),
        _groups(node, verb, inputs), node.attrs.get("eps", 0.0), node.attrs.get("factor", 1.0),
        node.weights,
    )  # fmt: skip


def quantise(lowering: Lowering, value: int) -> None:
    """Add the integer form of a value that has only floats so far."""
    buffer = lowering.buffer(value)
    lowering.take_codes(value)
    _emit(lowering, value, RowVerb.COPY, (buffer,), buffer, 1)


def _groups(node: Node, verb: RowVerb, inputs: tuple[Buffer, ...]) -> int:
    """Return into how many parts a row is cut that are worked on alone."""
    groups = {buffer.groups for buffer in inputs} - {1}
    if verb in _NORMS:
        groups.add(math.prod(n for n in node.shape[1:-1] if isinstance(n, int)))
    assert len(groups) <= 1, f"{node}: operands lie in different groups"
    return max(groups, default=1)


def _emit(
    lowering: Lowering,
    value: int,
    verb: RowVerb,
    inputs: tuple[Buffer, ...],
    out: Buffer,
    groups: int,
    eps: float = 0.0,
    factor: float = 1.0,
    weights: tuple[WeightRef, ...] = (),
) -> None:
    group = out.width // groups
    lowering.emit(
        "add_rows",
        [extent for buffer in inputs for extent in buffer.float_extents()],
        out.float_extents() + out.code_extents(),
        verb=int(verb),
        rows=lowering.kind(value),
        x=inputs[0].place(group),
        y=inputs[1].place(group) if len(inputs) > 1 else NOWHERE,
        n=out.width,
        groups=groups,
        eps=eps,
        factor=factor,
        weight=weights,
        out=out.floats,
        out_stride=out.stride,
        codes=out.codes(),
    )


VERBS: MappingProxyType[str, Callable[[Lowering, int, Node], None]] = MappingProxyType(
    {
        "embed": _embed,
        "hidden": _hidden,
        "exported": _pick,
        "wanted": _pick,
        "heads": _heads,
        "part": _part,
        "concat": _concat,
        **dict.fromkeys(_ROW_VERBS, _row_verb),
    }
)
