"""Who decides how much of each draft is verified, and the simplest who does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from outpace.speculate.drafter import Draft
from outpace.speculate.rule import Rule


class Policy(Protocol):
    """Decides each round how many tokens of each sequence's draft are verified."""

    n_max: int

    @property
    def has_dropped_head(self) -> bool:
        """Whether the model's own head is asked no more, because it was never right."""

    def choose(self, drafts: Sequence[Draft], n_rows: int, room: int) -> list[int]:
        """Return how many tokens of each draft to verify.

        Args:
            drafts: The draft of each decoding sequence; empty ones too, for those count as tokens that are coming.
            n_rows: Rows of the step without any draft.
            room: Most rows that may be added.
        """

    def rests(self, n_rows: int) -> bool:
        """Return whether `ahead` need not be asked this round, of a step of so many rows without any draft.

        Asked once a round. What else there is to know of the round costs more than this answer.
        """

    def ahead(self, drafts: Sequence[Draft], is_ready: Sequence[bool], n_rows: int, room: int) -> list[int]:
        """Return how many tokens the model's own head may draft for each sequence, in place of the draft it has.

        Args:
            drafts: As for `choose`.
            is_ready: Whether the head can draft for it.
            n_rows: As for `choose`.
            room: As for `choose`.
        """

    def rule(self) -> Rule:
        """Return how far the head goes that `ahead` has just let draft."""

    def drafted(self, steps: Sequence[tuple[int, float]], read_s: float) -> None:
        """Learn what the head took.

        Args:
            steps: For each of its steps the sequences in it and its seconds.
            read_s: Seconds of what it had to read before the first one.
        """

    def observe(self, draft: Draft, n_verified: int, n_kept: int) -> None:
        """Learn how a draft fared: `n_verified` of its tokens were in the step, the first `n_kept` were right."""

    def timed(self, n_rows: int, n_drafted: int, n_kept: int, seconds: float) -> None:
        """Learn how long a round took that ran `n_rows` rows, `n_drafted` of them drafts and none of them a prompt's.

        Args:
            n_rows: Rows of the step.
            n_drafted: Guesses among them.
            n_kept: Guesses among those that were right.
            seconds: By the clock, from asking for drafts to keeping what was right, without what `drafted` was told.
        """


class FixedDepth:
    """Verify `n` tokens whenever there are as many, paying or not: for tests and benches."""

    has_dropped_head = False

    def __init__(self, n: int) -> None:
        self.n_max = n

    def choose(self, drafts: Sequence[Draft], n_rows: int, room: int) -> list[int]:  # noqa: ARG002
        """Take up to n from each draft, in order, while there is room."""
        chosen = []
        for draft in drafts:
            n = min(len(draft.tokens), self.n_max, room)
            chosen.append(n)
            room -= n
        return chosen

    def rests(self, n_rows: int) -> bool:  # noqa: ARG002
        """Let nobody rest."""
        return False

    def ahead(self, drafts: Sequence[Draft], is_ready: Sequence[bool], n_rows: int, room: int) -> list[int]:  # noqa: ARG002
        """Draft n wherever nothing else has drafted."""
        each = min(self.n_max, room // max(len(drafts), 1))
        return [each if ready and not draft.tokens else 0 for draft, ready in zip(drafts, is_ready, strict=True)]

    def rule(self) -> Rule:
        """Go on to n."""
        return Rule((-1.0,) * self.n_max)

    def drafted(self, steps: Sequence[tuple[int, float]], read_s: float) -> None:
        """Learn nothing."""

    def observe(self, draft: Draft, n_verified: int, n_kept: int) -> None:
        """Learn nothing."""

    def timed(self, n_rows: int, n_drafted: int, n_kept: int, seconds: float) -> None:
        """Learn nothing."""
