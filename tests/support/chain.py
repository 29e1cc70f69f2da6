"""Drafts as an engine would have them: true rows first, then on from the program's own guesses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from outpace.backends.backend import DraftExecutable
from outpace.graph.step import Segment, Step


class Chain:
    """Drafts some tokens deep with a draft program, for one sequence."""

    def __init__(self, program: DraftExecutable, depth: int) -> None:
        self._program, self._depth = program, depth
        self._pages = np.arange(program.limits.n_pages, dtype=np.int32)

    def _run(self, tokens: Sequence[int], hidden: np.ndarray, start: int) -> tuple[np.ndarray, int]:
        """Run rows; return the last one's state [1, D] and the token it expects."""
        last = [len(tokens) - 1]
        segment = Segment(start, len(tokens), self._pages)
        result = self._program.run(Step(tokens, [segment], last, last, hidden.astype(np.float32)))
        return result.hidden.copy(), int(result.logits[0].argmax())

    def drafts(self, tokens: Sequence[int], hidden: np.ndarray, start: int) -> list[int]:
        """Return the guesses after `tokens`, which stand at `start` and after, with the true state before each."""
        state, token = self._run(tokens, hidden, start)
        found = [token]
        for position in range(start + len(tokens), start + len(tokens) + self._depth - 1):
            state, token = self._run([token], state, position)
            found.append(token)
        return found
