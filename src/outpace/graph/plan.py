"""A plan: the recorded verbs of one program, as data that can be printed, checked and compiled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from outpace.gguf.weights import WeightRef

# First dimension of every value: all rows of a step, those whose hidden state is asked for, or those whose logits are.
# Where a program exports, the wanted rows are among the exported ones.
TOKENS, EXPORTED, WANTED = "T", "X", "W"

# Verbs that write what a sequence carries, so they run even where nobody reads their result.
STATEFUL = frozenset({"attention", "write_kv", "conv", "gated_delta"})

Shape = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One verb applied to earlier values.

    Attributes:
        verb: Name of the method of `Ops` (or of a fused verb made by a pass).
        inputs: Ids of the values it reads; a value's id is its node's index in the plan.
        weights: Tensors it reads, in the verb's order.
        attrs: The verb's settings.
        shape: Shape of its result, outermost first; `T`, `X` or `W` stands for a number of rows known at run
            time.
    """

    verb: str
    inputs: tuple[int, ...]
    weights: tuple[WeightRef, ...]
    shape: Shape
    attrs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __str__(self) -> str:
        parts = [f"%{i}" for i in self.inputs] + [w.name for w in self.weights]
        parts += [f"{key}={value}" for key, value in self.attrs.items()]
        return f"{self.verb}({', '.join(parts)}) -> [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True, slots=True)
class Plan:
    """The verbs of one program in the order they run.

    Attributes:
        program: `trunk`, `draft` or `medusa`.
        nodes: The verbs; node i defines value i and reads only values before it.
        outputs: Name of each output and the value it is: `logits` [W, V], or `logits.0` and so on where heads have
            some each; `hidden` [X, D].
    """

    program: str
    nodes: tuple[Node, ...]
    outputs: Mapping[str, int]

    def __str__(self) -> str:
        lines = [f"%{i} = {node}" for i, node in enumerate(self.nodes)]
        return "\n".join([f"{self.program}:", *lines, *(f"{name} = %{i}" for name, i in self.outputs.items())])

    def readers(self) -> list[list[int]]:
        """Return, for each value, the nodes that read it."""
        found: list[list[int]] = [[] for _ in self.nodes]
        for i, node in enumerate(self.nodes):
            for value in node.inputs:
                found[value].append(i)
        return found

    def weights(self) -> dict[str, WeightRef]:
        """Return every tensor the plan reads, by name, in order of first use."""
        return {w.name: w for node in self.nodes for w in node.weights}
