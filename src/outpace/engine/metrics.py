"""What a run took and how its drafts fared, in the shape the command line prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class DraftRecord:
    """How the drafts of a sequence (or of several, added up) fared.

    Attributes:
        rounds: Steps that wrote tokens after the first; each writes one token of its own.
        drafted: For each depth, how many tokens were put to the test there, and
        accepted: how many of them were kept.
    """

    __slots__ = ("accepted", "drafted", "rounds")

    def __init__(self) -> None:
        self.rounds = 0
        self.drafted: list[int] = []
        self.accepted: list[int] = []

    def add(self, n_drafted: int, n_kept: int) -> None:
        """Record a round of which the first `n_kept` of `n_drafted` tokens were kept."""
        self.rounds += 1
        drafted, accepted = self.drafted, self.accepted
        if n_drafted > len(drafted):
            self._grow(n_drafted)
        i = 0
        while i < n_drafted:
            drafted[i] += 1
            accepted[i] += i < n_kept
            i += 1

    def merge(self, other: DraftRecord) -> None:
        """Add another record to this one."""
        self.rounds += other.rounds
        self._grow(len(other.drafted))
        for i, (drafted, accepted) in enumerate(zip(other.drafted, other.accepted, strict=True)):
            self.drafted[i] += drafted
            self.accepted[i] += accepted

    def _grow(self, depth: int) -> None:
        missing = depth - len(self.drafted)
        if missing > 0:
            self.drafted += [0] * missing
            self.accepted += [0] * missing


@dataclass(frozen=True, slots=True)
class Speculation:
    """The drafting of one answer.

    Attributes:
        drafter: Name of who drafted.
        rounds: Steps that wrote tokens after the first.
        drafted: Tokens put to the test.
        accepted: Those that were kept.
        tokens_per_round: Tokens written for each round, at least 1.
        accepted_by_position: For each depth, the share kept of those drafted there.
        drafted_by_position: For each depth, how many were drafted.
    """

    drafter: str
    rounds: int
    drafted: int
    accepted: int
    tokens_per_round: float
    accepted_by_position: tuple[float, ...]
    drafted_by_position: tuple[int, ...]

    @classmethod
    def of(cls, drafter: str, record: DraftRecord) -> Speculation:
        """Sum up a record."""
        accepted = sum(record.accepted)
        return cls(
            drafter,
            record.rounds,
            sum(record.drafted),
            accepted,
            (record.rounds + accepted) / record.rounds if record.rounds else 0.0,
            tuple(a / d for a, d in zip(record.accepted, record.drafted, strict=True)),
            tuple(record.drafted),
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as the last line of `--json` has it."""
        return {
            "drafter": self.drafter,
            "rounds": self.rounds,
            "drafted": self.drafted,
            "accepted": self.accepted,
            "tokens_per_round": round(self.tokens_per_round, 3),
            "accepted_by_position": [round(x, 4) for x in self.accepted_by_position],
            "drafted_by_position": list(self.drafted_by_position),
        }


@dataclass(frozen=True, slots=True)
class Timings:
    """What one answer took.

    Attributes:
        load_s: Seconds to make the model ready, before any request.
        prompt_n: Tokens of the prompt.
        prompt_s: Seconds from its first step to its first token.
        predicted_n: Tokens written.
        predicted_s: Seconds from the first token to the last.
    """

    load_s: float
    prompt_n: int
    prompt_s: float
    predicted_n: int
    predicted_s: float

    @property
    def prompt_per_s(self) -> float:
        """Tokens of the prompt a second."""
        return self.prompt_n / self.prompt_s if self.prompt_s > 0 else 0.0

    @property
    def predicted_per_s(self) -> float:
        """Tokens written a second, the first left out: the prompt's last step writes it."""
        return (self.predicted_n - 1) / self.predicted_s if self.predicted_n > 1 and self.predicted_s > 0 else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return it as the last line of `--json` has it."""
        return {
            "load_s": round(self.load_s, 4),
            "prompt_n": self.prompt_n,
            "prompt_per_s": round(self.prompt_per_s, 2),
            "predicted_n": self.predicted_n,
            "predicted_per_s": round(self.predicted_per_s, 2),
        }
