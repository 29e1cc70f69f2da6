"""How a head's guesses fare: counted round by round, told by depth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from outpace.speculate.drafter import Draft
from outpace.speculate.policy import FixedDepth


class Witness(FixedDepth):
    """Drafts to a fixed depth and remembers of each round how many guesses were put to the test, and how many kept.

    Attributes:
        rounds: Of the rounds that drafted: guesses tested, and those of them that were kept.
    """

    def __init__(self, depth: int) -> None:
        super().__init__(depth)
        self.rounds: list[tuple[int, int]] = []

    def observe(self, draft: Draft, n_verified: int, n_kept: int) -> None:  # noqa: ARG002
        """Remember a round."""
        self.rounds.append((n_verified, n_kept))


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The rounds of some answers, summed up; the first entry of each list is of depth 1.

    Attributes:
        rounds: Steps that wrote tokens after the first of each answer.
        drafted: Rounds in which a guess of that depth was put to the test.
        reached: Those of them in which every guess before it was kept.
        accepted: Those in which it was kept too.
    """

    rounds: int
    drafted: tuple[int, ...]
    reached: tuple[int, ...]
    accepted: tuple[int, ...]

    @classmethod
    def of(cls, rounds: int, drafts: Iterable[tuple[int, int]], depth: int) -> Acceptance:
        """Sum up.

        Args:
            rounds: Steps that wrote tokens after the first, those without a draft too.
            drafts: Of the rounds that drafted: guesses tested and kept.
            depth: Deepest guess that is told of.
        """
        drafted, reached, accepted = [0] * depth, [0] * depth, [0] * depth
        for n_drafted, n_kept in drafts:
            for i in range(min(n_drafted, depth)):
                drafted[i] += 1
                reached[i] += n_kept >= i
                accepted[i] += n_kept > i
        return cls(rounds, tuple(drafted), tuple(reached), tuple(accepted))

    @property
    def by_depth(self) -> tuple[float, ...]:
        """For each depth, the share of the rounds that drafted so deep in which all guesses up to it were kept."""
        return _shares(self.accepted, self.drafted)

    @property
    def conditional(self) -> tuple[float, ...]:
        """For each depth, how often a guess was kept whose predecessors were."""
        return _shares(self.accepted, self.reached)

    @property
    def tokens_per_round(self) -> float:
        """Tokens written for each round, its own one counted; 0 where there was none."""
        return (self.rounds + sum(self.accepted)) / self.rounds if self.rounds else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return it as `graft measure --json` has it."""
        return {
            "rounds": self.rounds,
            "drafted_by_depth": list(self.drafted),
            "reached_by_depth": list(self.reached),
            "accepted_by_depth": list(self.accepted),
            "acceptance_by_depth": [round(share, 4) for share in self.by_depth],
            "conditional_by_depth": [round(share, 4) for share in self.conditional],
            "tokens_per_round": round(self.tokens_per_round, 3),
        }


def _shares(some: Sequence[int], of: Sequence[int]) -> tuple[float, ...]:
    return tuple(a / b if b else 0.0 for a, b in zip(some, of, strict=True))
