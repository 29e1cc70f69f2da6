"""Who decides how much of each draft is verified, and the simplest who does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from outpace.speculate.drafter import Draft


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

    def ahead(self, drafts: Sequence[Draft], is_ready: Sequence[bool], n_rows: int, room: int) -> list[int]:
        """Return how many tokens the model's own head may draft for each sequence, in place of the draft it has.

        Args:
            drafts: As for `choose`.
            is_ready: Whether the head can draft for it.
            n_rows: As for `choose`.
            room: As for `choose`.
        """

    def goes_on(self, chances: Sequence[Sequence[float]]) -> bool:
        """Return whether the head should draft a token more, told the chances of all its guesses so far."""

    def drafted(self, n_sequences: int, seconds: float) -> None:
        """Learn what one step of the head took, or with no sequences what it had to read before its first one."""

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

    def ahead(self, drafts: Sequence[Draft], is_ready: Sequence[bool], n_rows: int, room: int) -> list[int]:  # noqa: ARG002
        """Draft n wherever nothing else has drafted."""
        each = min(self.n_max, room // max(len(drafts), 1))
        return [each if ready and not draft.tokens else 0 for draft, ready in zip(drafts, is_ready, strict=True)]

    def goes_on(self, chances: Sequence[Sequence[float]]) -> bool:  # noqa: ARG002
        """Go on to n."""
        return True

    def drafted(self, n_sequences: int, seconds: float) -> None:
        """Learn nothing."""

    def observe(self, draft: Draft, n_verified: int, n_kept: int) -> None:
        """Learn nothing."""

    def timed(self, n_rows: int, n_drafted: int, n_kept: int, seconds: float) -> None:
        """Learn nothing."""
