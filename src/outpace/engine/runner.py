"""Feeds to a step, a step to logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outpace.engine.sequence import Feed, Sequence
from outpace.graph.step import Segment, Step, StepResult
from outpace.speculate.drafter import NOTHING

if TYPE_CHECKING:
    from outpace.backends.backend import Executable

# Makes a named tuple without its own constructor, which is Python code and whose pieces a step finds in main memory.
_tuple = tuple.__new__


def n_exported(sequence: Sequence, n_known: int, n_draft: int, is_wanted: bool) -> int:
    """Return how many of a feed's last rows give their hidden states: those its head can use, and all wanted ones."""
    n, n_rows = 1 + n_draft if is_wanted else 0, n_known + n_draft
    if n == n_rows or sequence.head is None:
        return n
    return max(n, min(n_rows, sequence.n_cached + n_rows - sequence.head.hidden_from))


class Runner:
    """Runs feeds on an executable."""

    def __init__(self, executable: Executable, *, exports: bool = False) -> None:
        """Take what runs the trunk; `exports`: hidden states are asked for too."""
        self.executable = executable
        self._run = executable.run
        self._exports = exports

    def forward(self, feeds: list[Feed]) -> StepResult:
        """Stage every feed's known and drafted tokens.

        Returns:
            Logits [W, V]: for each feed that wants any, in order, the row of its last known token and those of its
            draft; hidden states [X, D] of each feed whose sequence has a head, from its `hidden_from` on. Valid until
            the next step.
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
            n_cached, end = sequence.n_cached, len(tokens)
            rows = n_cached, end - first, sequence.pages, sequence.slot, end - 1 - last, sequence.n_pending, 0
            segments.append(_tuple(Segment, rows))
        # Where all rows are wanted, as in decoding, they are exported unasked.
        exported = self._exported(feeds) if self._exports and len(wanted) < len(tokens) else ()
        return self._run(_tuple(Step, (tokens, segments, wanted, exported, None)))

    def _exported(self, feeds: list[Feed]) -> list[int]:
        """Return the rows of a step whose hidden states are asked for."""
        found: list[int] = []
        end = 0
        for sequence, known, draft, is_wanted in feeds:
            end += len(known) + len(draft.tokens)
            found += range(end - n_exported(sequence, len(known), len(draft.tokens), is_wanted), end)
        return found
