"""Guesses as a draft for several sequences makes them, step by step, and the time of each step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outpace.speculate.drafter import NOTHING, draft_of
from outpace.speculate.speculator import Ask, Drafted
from outpace.speculate.vocabulary import Tokens


class Guesses:
    """What has been guessed for whom in one call of `Speculator.draft`.

    State: `tokens` and `chances`, a list for each sequence; what each step took.
    """

    def __init__(self, asks: Sequence[Ask[Any]]) -> None:
        """Begin with no guess, and with the clock."""
        self._asks = asks
        self.tokens: list[list[int]] = [[] for _ in asks]
        self.chances: list[list[float]] = [[] for _ in asks]
        self._steps: list[tuple[int, float]] = []
        self._read_s = 0.0
        self._began = perf_counter()

    def apart(self) -> None:
        """Take what was done since the last step as no step's: it is not what a guess costs."""
        self._read_s += self._pass()

    def take(self, live: Sequence[int], rows: Iterable[tuple[NDArray[np.float32], Tokens | None]]) -> None:
        """Make the next guess of some sequences, which ends a step.

        Args:
            live: Whose.
            rows: For each of them logits [N], and the tokens that they are of (None: all).
        """
        for i, (logits, tokens) in zip(live, rows, strict=True):
            found = self._asks[i].guess(logits, tokens, self.tokens[i])
            if found is not None:
                self.tokens[i].append(found[0])
                self.chances[i].append(found[1])
        # Whether to go on is decided at the next step's expense.
        self._steps.append((len(live), self._pass()))

    def drafted(self, name: str) -> Drafted:
        """Return what has become of it, by the name of who guessed."""
        drafts = [draft_of((a, b, name)) if a else NOTHING for a, b in zip(self.tokens, self.chances, strict=True)]
        return Drafted(drafts, self._steps, self._read_s)

    def _pass(self) -> float:
        """Return the seconds since this was called last."""
        now = perf_counter()
        took = now - self._began
        self._began = now
        return took
