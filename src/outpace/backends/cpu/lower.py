"""Plans lowered: each verb by the function that knows its instructions."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from outpace.backends.backend import Limits
from outpace.backends.cpu.layout import Layout, Sizes
from outpace.backends.cpu.lowering import Lowering
from outpace.backends.cpu.verbs import attention, experts, linear, recurrent, rows
from outpace.errors import UnsupportedError
from outpace.graph.plan import Node, Plan

_VERBS: MappingProxyType[str, Callable[[Lowering, int, Node], None]] = MappingProxyType(
    {**rows.VERBS, **linear.VERBS, **attention.VERBS, **recurrent.VERBS, **experts.VERBS}
)


def lower(plan: Plan, limits: Limits, sizes: Sizes, threads: int) -> Layout:
    """Return the instructions and the workspace of a plan.

    Raises:
        UnsupportedError: A verb, tensor type or head width that the kernels do not have.
    """
    lowering = Lowering(plan, limits, sizes, threads)
    for spec in lowering.layout.state.kv:
        if spec.head_dim % 16:
            raise UnsupportedError("head width", str(spec.head_dim), ("multiples of 16",))
    attention.tables(lowering)
    for i, node in enumerate(plan.nodes):
        if i not in lowering.done:
            if node.verb not in _VERBS:
                raise UnsupportedError("verb", node.verb, sorted(_VERBS))
            _VERBS[node.verb](lowering, i, node)
        lowering.release(i)
    return lowering.finish()
