"""What a drafter is: it proposes tokens and observes the truth, for one sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Draft(NamedTuple):
    """Guesses for the tokens that come next.

    Attributes:
        tokens: The guesses, nearest first.
        confidence: For each guess the chance that it is right, given that those before it are.
    """

    tokens: Sequence[int] = ()
    confidence: Sequence[float] = ()


NOTHING = Draft()

# Makes a named tuple without its own constructor, which is Python code: a step finds all of that in main memory.
_tuple = tuple.__new__


def draft_of(guesses: tuple[Sequence[int], Sequence[float]]) -> Draft:
    """Return a draft of guesses and the chance of each."""
    return _tuple(Draft, guesses)


class Drafter(Protocol):
    """Guesses ahead of one sequence; owns whatever state it needs for that.

    A drafter can cost time, never correctness: every guess is checked before it is kept.
    """

    name: str

    def propose(self, tokens: Sequence[int], max_n: int) -> Draft:
        """Guess up to `max_n` tokens that follow `tokens`, all of the sequence's tokens so far.

        `tokens` may be ahead of what was observed: the last one is chosen but not yet committed.
        """

    def observe(self, kept: Sequence[int], hidden: NDArray[np.float32] | None = None) -> None:
        """Learn the truth: the tokens just committed, in order, each exactly once.

        Args:
            kept: The tokens committed by a step (a chunk of the prompt, or known and accepted tokens).
            hidden: The trunk's hidden rows of these tokens [len(kept), D], where the trunk exports them.
        """


class NoDrafter:
    """Plain decoding: proposes nothing, learns nothing."""

    name = "none"

    def propose(self, tokens: Sequence[int], max_n: int) -> Draft:  # noqa: ARG002 - the protocol's arguments
        """Guess nothing."""
        return NOTHING

    def observe(self, kept: Sequence[int], hidden: NDArray[np.float32] | None = None) -> None:
        """Learn nothing."""
