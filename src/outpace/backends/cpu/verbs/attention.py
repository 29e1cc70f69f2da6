"""Attention: heads turned, keys and values written to the cache, queries answered from it."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from outpace.backends.cpu.buffers import NONE
from outpace.backends.cpu.lowering import Lowering
from outpace.graph.ops import Rope
from outpace.graph.plan import Node


def tables(lowering: Lowering) -> None:
    """Let each rotary embedding's angles be computed once a step, before anything else."""
    for node in lowering.plan.nodes:
        rope: Rope | None = node.attrs.get("rope")
        if rope is not None and rope not in lowering.tables:
            lowering.tables[rope] = len(lowering.tables)
            n_bytes = 4 * lowering.layout.sizes.rows * rope.dims
            out = lowering.take(n_bytes)
            lowering.table_extents.append((out, out + n_bytes))
            lowering.emit("add_rope_table", [], [(out, out + n_bytes)], frequencies=rope, out=out)


def _attention(lowering: Lowering, i: int, node: Node) -> None:
    values = lowering.values
    q, rope = values.unturned(node.inputs[0])
    layer, spec, _ = lowering.kv(node.attrs["layer"])
    assert values.final_readers(q) == [i], "somebody else reads q, which is turned and scaled in place"
    # Queries first: they need not wait for the cache, nor it for them.
    _turn(lowering, q, q, rope, spec.head_dim, node.attrs["scale"])
    _write_kv(lowering, i, node)
    _, _, pages = lowering.kv(node.attrs["layer"])
    source, out = lowering.buffer(q), lowering.new(i)
    assert out.stride == source.stride, "queries and results lie alike"
    lowering.emit(
        "add_attention",
        source.float_extents() + pages,
        out.float_extents() + lowering.partial(),
        rows=lowering.kind(i),
        layer=layer,
        q=source.floats,
        out=out.floats,
        stride=out.stride,
        n_heads=out.width // spec.head_dim,
    )


def _write_kv(lowering: Lowering, i: int, node: Node) -> None:
    values = lowering.values
    k, rope = values.unturned(node.inputs[-2])
    keys, v = lowering.buffer(k), lowering.buffer(node.inputs[-1])
    layer, spec, pages = lowering.kv(node.attrs["layer"])
    assert values.final_readers(k) == [i], "somebody else reads k, which is turned in place"
    lowering.emit(
        "add_kv_write",
        keys.float_extents() + v.float_extents() + lowering.table_extents,
        keys.float_extents() + pages,
        layer=layer,
        k=keys.floats,
        k_out=keys.floats,
        k_stride=keys.stride,
        v=v.floats,
        v_stride=v.stride,
        n_kv_heads=spec.n_kv_heads,
        head_dim=spec.head_dim,
        neox=int(rope is not None and rope.style == "neox"),
        table=lowering.tables[rope] if rope else NONE,
    )


def _rope(lowering: Lowering, i: int, node: Node) -> None:
    if lowering.values.is_fused_rope(i):
        return
    source = lowering.values.resolve(node.inputs[0])
    lowering.new(i)
    head_dim = node.shape[-1]
    assert isinstance(head_dim, int)
    _turn(lowering, source, i, node.attrs["rope"], head_dim, 1.0)


def _turn(lowering: Lowering, source: int, value: int, rope: Rope | None, head_dim: int, factor: float) -> None:
    """Turn heads by their rows' positions and multiply them by a factor."""
    x, out = lowering.buffer(source), lowering.buffer(value)
    assert x.stride == out.stride, "heads lie alike before and after"
    lowering.emit(
        "add_rope",
        x.float_extents() + lowering.table_extents,
        out.float_extents(),
        rows=lowering.kind(value),
        x=x.floats,
        out=out.floats,
        stride=out.stride,
        n_heads=out.width // head_dim,
        head_dim=head_dim,
        neox=int(rope is not None and rope.style == "neox"),
        table=lowering.tables[rope] if rope else NONE,
        factor=factor,
    )


VERBS: MappingProxyType[str, Callable[[Lowering, int, Node], None]] = MappingProxyType(
    {"attention": _attention, "write_kv": _write_kv, "rope": _rope}
)
