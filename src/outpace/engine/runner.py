"""Feeds to a step, a step to logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outpace.engine.sequence import Feed
from outpace.graph.step import Segment, Step, StepResult

if TYPE_CHECKING:
    from outpace.backends.backend import Executable


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
            guesses = draft.tokens
            tokens += known
            last = len(tokens) - 1
            tokens += guesses
            segments.append(Segment(sequence.n_cached, len(known) + len(guesses), sequence.pages))
            if is_wanted:
                wanted.extend(range(last, len(tokens)))
        return self._run(Step(tokens, segments, wanted))
