"""Feeds to a step, a step to logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outpace.engine.sequence import Feed
from outpace.graph.step import Segment, Step, StepResult
from outpace.speculate.drafter import NOTHING

if TYPE_CHECKING:
    from outpace.backends.backend import Executable

# Makes a named tuple without its own constructor, which is Python code and whose pieces a step finds in main memory.
_tuple = tuple.__new__


class Runner:
    """Runs feeds on an executable."""

    def __init__(self, executable: Executable) -> None:
        self.executable = executable
        self._run = executable.run

    def forward(self, feeds: list[Feed]) -> StepResult:
        """Stage every feed's known and drafted tokens.

        Returns:
            Logits [W, V]: for each feed that wants any, in order, the row of its last known token and those of its
            draft; valid until the next step.
        """
        tokens: list[int] = []
        segments: list[Segment] = []
        wanted: list[int] = []
        for sequence, known, draft, is_wanted in feeds:
            first = len(tokens)
            tokens += known
            last = len(tokens) - 1
            if is_wanted:
                wanted.append(last)
            if draft is not NOTHING:
                tokens += draft.tokens
                wanted += range(last + 1, len(tokens))
            rows = sequence.n_cached, len(tokens) - first, sequence.pages, 0, 0, 0
            segments.append(_tuple(Segment, rows))
        return self._run(_tuple(Step, (tokens, segments, wanted, (), None)))
