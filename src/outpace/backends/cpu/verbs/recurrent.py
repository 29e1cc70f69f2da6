"""Verbs that carry a recurrent state: the short convolution and the gated delta rule."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from outpace.backends.cpu.lowering import Lowering
from outpace.graph.plan import Node


def _conv(lowering: Lowering, i: int, node: Node) -> None:
    layer, _, state = lowering.recurrent(node.attrs["layer"])
    x, out = lowering.buffer(node.inputs[0]), lowering.new(i)
    lowering.emit(
        "add_conv",
        x.float_extents() + state,
        out.float_extents() + state,
        x=x.floats,
        x_stride=x.stride,
        out=out.floats,
        out_stride=out.stride,
        layer=layer,
        with_silu=node.attrs.get("silu", False),
        weight=node.weights[0],
    )


def _gated_delta(lowering: Lowering, i: int, node: Node) -> None:
    layer, _, state = lowering.recurrent(node.attrs["layer"])
    names = ("q", "k", "v", "decay", "beta")
    inputs = {name: lowering.buffer(value) for name, value in zip(names, node.inputs, strict=True)}
    out = lowering.new(i)
    lowering.emit(
        "add_gated_delta",
        [extent for buffer in inputs.values() for extent in buffer.float_extents()] + state,
        out.float_extents() + state,
        **{name: buffer.place() for name, buffer in inputs.items()},
        out=out.place(),
        layer=layer,
        tiled=node.attrs["tiled"],
    )


VERBS: MappingProxyType[str, Callable[[Lowering, int, Node], None]] = MappingProxyType(
    {"conv": _conv, "gated_delta": _gated_delta}
)
