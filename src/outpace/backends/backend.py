"""What a backend promises: a plan and weights in, something that runs steps out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from outpace.gguf.file import GGUFFile
from outpace.graph.plan import Plan
from outpace.graph.step import NativeDraft, Step, StepResult


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an executable's memory is made, fixed at compile time.

    Attributes:
        max_rows: Most rows in one step (the prefill chunk).
        max_wanted: Most rows of logits in one step; of a draft program, most rows of hidden states too.
        n_pages: Pages of KV memory, shared by all sequences.
        kv_type: How keys and values are kept, one of `config.KV_TYPES`.
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
class DraftMemory:
    """Bytes that a draft program takes beside its trunk.

    Attributes:
        weights_bytes: Weights that the trunk does not read, those of the next left out.
        head_bytes: Rows of the vocabulary projection that are its own.
        kv_bytes: Pages of its KV cache, and the trunk's hidden states that are kept with them.
        workspace_bytes: Activations, logits and scratch of a step.
    """

    weights_bytes: int
    head_bytes: int
    kv_bytes: int
    workspace_bytes: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.weights_bytes + self.head_bytes + self.kv_bytes + self.workspace_bytes


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes a run will hold, known before anything is loaded.

    Attributes:
        weights_bytes: Weights as the backend keeps them (repacked).
        kv_bytes: Pages of the KV cache.
        state_bytes: Recurrent state of sequences.
        workspace_bytes: Activations, logits and scratch of a step.
        draft: What a draft program takes beside the trunk; None where none is to run.
    """

    weights_bytes: int
    kv_bytes: int
    state_bytes: int
    workspace_bytes: int
    draft: DraftMemory | None = None

    @property
    def mtp_bytes(self) -> int:
        """What the draft program takes, 0 without one."""
        return 0 if self.draft is None else self.draft.total_bytes

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.weights_bytes + self.kv_bytes + self.state_bytes + self.workspace_bytes + self.mtp_bytes


class DraftExecutable(Protocol):
    """A draft program ready to run. Its cache has as many pages as the trunk's, addressed by the same page tables.

    Attributes:
        n_vocab: Width of the logits.
        limits: Sizes.
        native: The native program of one whose hidden states are its own next input, and where it leaves logits and
            hidden states, for the sampler that guesses on by itself (`Sampler.chain`); None elsewhere.
    """

    n_vocab: int
    limits: Limits
    native: NativeDraft | None

    def run(self, step: Step, head: int = 0) -> StepResult:
        """Run one step: stage its rows in the draft program's cache, return the wanted logits and exported states.

        The step has hidden states. At most `Limits.max_wanted` rows are exported; a program without a cache takes
        no more rows than that in all.

        Args:
            step: Its rows.
            head: Which of the program's heads is to run (`passes.by_head`).
        """

    def catch_up(self, step: Step) -> None:
        """Stage the rows' keys and values as `run` would, computing nothing else; no row is wanted or exported.

        Only programs with a cache can.
        """

    def take_rows(self, at: int, tokens: Sequence[int]) -> None:
        """Let the rows of a trimmed vocabulary projection (`passes.trim_head`) from `at` on stand for these tokens."""


class Executable(Protocol):
    """A program ready to run. Holds KV pages and recurrent states; which belongs to whom is the engine's business."""

    n_vocab: int  # width of the logits; 0 for a plan without them
    limits: Limits

    @property
    def draft(self) -> DraftExecutable | None:
        """The draft program that was compiled with it."""

    def run(self, step: Step) -> StepResult:
        """Run one step: stage its rows in the cache, return the wanted logits."""

    def copy_page(self, source: int, target: int) -> None:
        """Copy one page of KV memory over all layers, those of the draft program too."""

    def copy_state(self, source: int, target: int) -> None:
        """Copy one slot over all layers: the state, and the rows staged beside it.

        What goes on from `target` may take in as many of the staged rows as what goes on from `source` might. Does
        nothing for programs without recurrent layers.
        """


class Backend(Protocol):
    """A way of running plans."""

    name: str

    def memory(self, plan: Plan, limits: Limits, draft: Plan | None = None) -> MemoryPlan:
        """Return what `compile` would hold, from the plans alone."""

    def compile(self, plan: Plan, file: GGUFFile, limits: Limits, draft: Plan | None = None) -> Executable:
        """Load and arrange weights, reserve memory, return the runnable program.

        Args:
            plan: The trunk.
            file: Where the weights are; not read any more afterwards.
            limits: Sizes, of both programs.
            draft: The draft program, if it is to run; tensors that both read are loaded once.

        Raises:
            UnsupportedError: A tensor's type cannot be run.
            ResourceError: Not enough memory.
        """
