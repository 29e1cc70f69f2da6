"""One sequence on an executable: rows fed as known and guessed, some guesses accepted, as an engine would."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from outpace.backends.backend import Executable
from outpace.graph.step import PAGE, Segment, Step


class Stepper:
    """Keeps a sequence's position and what of its last guesses is accepted but not yet taken in.

    Every row is exported and wanted.
    """

    def __init__(self, executable: Executable, slot: int = 0, pages: Sequence[int] | None = None, at: int = 0) -> None:
        self._executable, self.slot = executable, slot
        self.pages = np.array(range(executable.limits.n_pages) if pages is None else pages, np.int32)
        self.at, self.n_pending, self._known = at, 0, 0

    def segment(self, known: Sequence[int], draft: Sequence[int] = ()) -> Segment:
        """Return the segment of a feed, for steps of several sequences."""
        n = len(known) + len(draft)
        assert len(self.pages) * PAGE >= self.at + n
        self._known = len(known)
        return Segment(self.at, n, self.pages, self.slot, len(draft), self.n_pending)

    def feed(self, known: Sequence[int], draft: Sequence[int] = ()) -> np.ndarray:
        """Run known rows and guesses; return logits of all [T, V]. To go on, say how many guesses were right."""
        rows = range(len(known) + len(draft))
        step = Step([*known, *draft], [self.segment(known, draft)], rows, rows)
        return self._executable.run(step).logits.copy()

    def accept(self, n: int) -> None:
        """Keep the known rows and n guesses."""
        self.at += self._known + n
        self.n_pending = n
