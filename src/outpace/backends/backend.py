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
        n_slots: Recurrent states, one for each sequence that runs and each that is kept for later.
        max_draft: Most rows that a slot can have staged.
    """

    max_rows: int
    max_wanted: int
    n_pages: int
    kv_type: str = "f16"
    n_slots: int = 1
    max_draft: int = 0


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
    """A program ready to run. Holds KV pages and recurrent states; which belongs to whom is the engine's business."""

    n_vocab: int  # width of the logits; 0 for a plan without them
    limits: Limits

    def run(self, step: Step) -> StepResult:
        """Run one step: stage its rows in the cache, return the wanted logits."""

    def copy_page(self, source: int, target: int) -> None:
        """Copy one page of KV memory over all layers."""

    def copy_state(self, source: int, target: int) -> None:
        """Copy one slot's recurrent state over all layers, as it is at its last known row; staged rows are left behind.

        Legal while no staged row of `source` is accepted and still to be taken in. Does nothing for programs without
        recurrent layers.
        """


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
