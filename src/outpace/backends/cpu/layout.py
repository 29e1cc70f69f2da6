"""A lowered plan: instructions over one workspace, and the memory that they take.

Everything here follows from the plan and the limits, so it tells the memory of a run before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from outpace.backends.cpu.buffers import Buffer
from outpace.gguf.weights import WeightRef
from outpace.graph.cost import StateSpec
from outpace.graph.plan import EXPORTED, TOKENS, WANTED, Plan


@dataclass(frozen=True, slots=True)
class Sizes:
    """Most rows of each kind in one step of a program."""

    rows: int
    exported: int
    wanted: int

    def of(self, kind: str | int) -> int:
        """Return the most rows of a kind."""
        return {TOKENS: self.rows, EXPORTED: self.exported, WANTED: self.wanted}[str(kind)]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One call of a `_native.Program.add_*` method; tensors and rotary settings are put in when weights are loaded.

    Attributes:
        method: Its name.
        arguments: What it is given.
        waits: Whether it has to wait for the instructions before it.
    """

    method: str
    arguments: dict[str, Any]
    waits: bool


@dataclass(slots=True)
class Layout:
    """The lowered plan.

    Attributes:
        plan: What was lowered.
        sizes: For steps of at most so many rows.
        threads: For so many threads.
        state: What sequences carry.
        instructions: In the order they run.
        workspace_bytes: What all buffers take.
        partial: Offset of split attention's partial results.
        partial_rows: Attention over at most so many query rows is split.
        partial_chunks: Chunks that a row has room for there.
        scratch: Offset of the threads' scratch.
        scratch_bytes: Of each thread.
        outputs: Buffer of each of the plan's outputs.
    """

    plan: Plan
    sizes: Sizes
    threads: int
    state: StateSpec
    instructions: list[Instruction] = field(default_factory=list)
    workspace_bytes: int = 0
    partial: int = 0
    partial_rows: int = 0
    partial_chunks: int = 0
    scratch: int = 0
    scratch_bytes: int = 0
    outputs: dict[str, Buffer] = field(default_factory=dict)


def tensors(layouts: Iterable[Layout]) -> Iterator[WeightRef]:
    """Return the matrices that the instructions read, each once, in the order they run."""
    seen: set[str] = set()
    for layout in layouts:
        for instruction in layout.instructions:
            read = instruction.arguments.get("weights") or [instruction.arguments.get("table")]
            refs = [ref for ref in read if isinstance(ref, WeightRef)]
            for ref in [*(ref.rows_of for ref in refs if ref.rows_of), *refs]:
                if ref.name not in seen:
                    seen.add(ref.name)
                    yield ref
