"""What a drafter is: it proposes tokens and observes the truth, for one sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Draft(NamedTuple):
    """Guesses for the tokens that come next.

    Attributes:
        tokens: The guesses, nearest first.
        confidence: For each guess the chance that it is right, given that those before it are.
        source: Name of who guessed, where that is not the drafter that was asked.
    """

    tokens: Sequence[int] = ()
    confidence: Sequence[float] = ()
    source: str = ""


NOTHING = Draft()

# Makes a named tuple without its own constructor, which is Python code: a step finds all of that in main memory.
_tuple = tuple.__new__


def draft_of(guesses: tuple[Sequence[int], Sequence[float], str]) -> Draft:
    """Return a draft of guesses, the chance of each, and who made them."""
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

    def observe(self, kept: Sequence[int]) -> None:
        """Learn the truth: the tokens committed by a step (a chunk of the prompt, or known and accepted ones).

        Each is shown exactly once, in order. What the trunk thought of them goes to `speculator.DraftState.learn`.
        """


class NoDrafter:
    """Plain decoding: proposes nothing, learns nothing."""

    name = "none"

    def propose(self, tokens: Sequence[int], max_n: int) -> Draft:  # noqa: ARG002 - the protocol's arguments
        """Guess nothing."""
        return NOTHING

    def observe(self, kept: Sequence[int]) -> None:
        """Learn nothing."""
