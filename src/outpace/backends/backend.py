"""What a backend promises: a plan and weights in, something that runs steps out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from outpace.gguf.file import GGUFFile
from outpace.graph.plan import Plan
from outpace.graph.step import Step, StepResult


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an executable's memory is made, fixed at compile time.

    Attributes:
        max_rows: Most rows in one step (the prefill chunk).
        max_wanted: Most rows of logits in one step.
        n_pages: Pages of KV memory, shared by all sequences.
        kv_type: `f16` or `q8_0`.
    """

    max_rows: int
    max_wanted: int
    n_pages: int
    kv_type: str = "f16"


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes a run will hold, known before anything is loaded.

    Attributes:
        weights_bytes: Weights as the backend keeps them (repacked).
        kv_bytes: Pages of the KV cache.
        state_bytes: Recurrent state of sequences.
        workspace_bytes: Activations, logits and scratch of a step.
    """

    weights_bytes: int
    kv_bytes: int
    state_bytes: int
    workspace_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.weights_bytes + self.kv_bytes + self.state_bytes + self.workspace_bytes


class Executable(Protocol):
    """A program ready to run. Holds the KV pages; which page belongs to whom is the engine's business."""

    n_vocab: int
    limits: Limits

    def run(self, step: Step) -> StepResult:
        """Run one step: stage its rows in the cache, return the wanted logits."""

    def copy_page(self, source: int, target: int) -> None:
        """Copy one page of KV memory over all layers."""


class Backend(Protocol):
    """A way of running plans."""

    name: str

    def memory(self, plan: Plan, limits: Limits) -> MemoryPlan:
        """Return what `compile` would hold, from the plan alone."""

    def compile(self, plan: Plan, file: GGUFFile, limits: Limits) -> Executable:
        """Load and arrange weights, reserve memory, return the runnable program.

        Raises:
            UnsupportedError: A tensor's type cannot be run.
            ResourceError: Not enough memory.
        """
