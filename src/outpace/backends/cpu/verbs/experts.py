"""A mixture of experts: rows go to the experts that they choose, side by side, and come back."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from outpace.backends.cpu import weights
from outpace.backends.cpu.buffers import NO_CODES, NONE, NOWHERE
from outpace.backends.cpu.lowering import Lowering
from outpace.backends.cpu.verbs.rows import quantise
from outpace.errors import UnsupportedError
from outpace.graph.plan import Node

GROUP = 8  # an expert's rows begin at a multiple of it: kGroupRows of native/kernels/kernels.h


def _experts(lowering: Lowering, i: int, node: Node) -> None:
    gate, up, down = (weights.kernel_type(ref).is_quantised for ref in node.weights)
    if gate != up:
        raise UnsupportedError("a mixture of experts with", "one of gate and up quantised", ("both", "neither"))
    source = lowering.values.resolve(node.inputs[0])
    if gate and lowering.buffer(source).q == NONE:
        quantise(lowering, source)
    x, router, out = lowering.buffer(source), lowering.buffer(node.inputs[1]), lowering.new(i)
    n_experts, d_ff, d_model = node.weights[0].shape
    n_used: int = node.attrs["n_used"]
    n = out.rows * n_used
    n_slots = n + (GROUP - 1) * min(n_experts, n)
    slots = lowering.lend(n_slots, d_model, codes=gate)
    gated, lifted, results = (lowering.lend(n_slots, width) for width in (d_ff, d_ff, d_model))
    hidden = lowering.lend(n_slots, d_ff, codes=True) if down else None
    lent = [slots, gated, lifted, results] + ([hidden] if hidden else [])
    lowering.emit(
        "add_experts",
        (x.code_extents() if gate else x.float_extents()) + router.float_extents(),
        [extent for buffer in (out, *lent) for extent in buffer.float_extents() + buffer.code_extents()],
        rows=lowering.kind(i),
        max_rows=out.rows,
        max_slots=n_slots,
        n_used=n_used,
        renormalise=node.attrs["norm_topk"],
        d_model=d_model,
        d_ff=d_ff,
        weights=list(node.weights),
        x=NOWHERE if gate else x.place(),
        codes=x.codes() if gate else NO_CODES,
        router=router.place(),
        slot_x=slots.place(),
        slot_codes=slots.codes(),
        gated=gated.place(),
        lifted=lifted.place(),
        hidden_codes=hidden.codes() if hidden else NO_CODES,
        out_slots=results.place(),
        out=out.place(),
    )
    for buffer in lent:
        lowering.give_back(buffer)


VERBS: MappingProxyType[str, Callable[[Lowering, int, Node], None]] = MappingProxyType({"experts": _experts})
