"""Play a plan back over any verbs: eagerly on numpy, or through another tracer."""

from __future__ import annotations

from typing import Any

from outpace.graph.plan import Plan


class Replay:
    """A plan made ready to be played back many times; values are dropped after their last reader."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        outputs = set(plan.outputs.values())
        last = {value: readers[-1] for value, readers in enumerate(plan.readers()) if readers and value not in outputs}
        # Verb, inputs, weights, settings, and the values nobody reads afterwards.
        self._nodes = [
            (
                node.verb,
                node.inputs,
                () if node.verb == "rope" else node.weights,  # a Rope carries its own tensor
                dict(node.attrs),
                tuple({value for value in node.inputs if last.get(value) == i}),
            )
            for i, node in enumerate(plan.nodes)
        ]

    def __call__(self, ops: Any) -> None:
        """Call the verbs of `ops` in the plan's order, fused ones included, then name its outputs."""
        values: list[Any] = [None] * len(self._nodes)
        for i, (verb, inputs, weights, attrs, done) in enumerate(self._nodes):
            values[i] = getattr(ops, verb)(*[values[value] for value in inputs], *weights, **attrs)
            for value in done:
                values[value] = None
        for name, value in self.plan.outputs.items():
            ops.output(name, values[value])


def replay(plan: Plan, ops: Any) -> None:
    """Play `plan` once over `ops`."""
    Replay(plan)(ops)
