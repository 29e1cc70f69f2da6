"""A model whose drafts fare as the bench wants: each drafted token counts as right by the flip of a coin.

Everything is computed as ever: drafts, their verification, the choice of each row that would be compared. Only what is
kept is not what the model says, so the text is worth nothing. No command but `bench` makes such a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as List
from typing import Any

import numpy as np

from outpace.engine.sequence import Sequence
from outpace.errors import ConfigError
from outpace.graph.step import StepResult
from outpace.llm import LLM

# Coins are made in runs of this many.
RUN = 4096


class Coins:
    """How many tokens of a draft count as right: a function of the seed, the position and the depth alone.

    Attributes:
        chances: The chance of a token at each depth, given that those before it are right.
        rest: The chance at depths beyond them.
    """

    def __init__(self, chances: List[float], rest: float, seed: int = 0) -> None:
        self.chances, self.rest = tuple(chances), rest
        self._random = np.random.default_rng(seed)
        self._flips: list[float] = []

    @classmethod
    def of(cls, accept: float | None, rates: str | None, length: float | None, n_max: int, seed: int) -> Coins | None:
        """Return the coins that the options of the bench ask for; None where they ask for none.

        Args:
            accept: Chance of every token, given that those before it are right.
            rates: The chance at each depth that a token is kept, whatever those before it, with commas between.
            length: Tokens of a round, the model's own included, where `n_max` are drafted.
            n_max: Most tokens drafted in a round.
            seed: Another seed, other coins.

        Raises:
            ConfigError: More than one is given, or one is out of range.
        """
        given = [x for x in (accept, rates, length) if x is not None]
        if len(given) > 1:
            expected = "one of --spec-synth-accept, --spec-synth-rates and --spec-synth-len"
            raise ConfigError("imposed acceptance", ", ".join(map(str, given)), expected)
        if accept is not None:
            if not 0 <= accept <= 1:
                raise ConfigError("--spec-synth-accept", accept, "a number from 0 to 1")
            return cls((), accept, seed)
        if rates is not None:
            return cls(_conditional(rates), 0.0, seed)
        if length is not None:
            if not 1 <= length <= n_max + 1:
                expected = f"a number from 1 to {n_max + 1}, all of a draft and one more"
                raise ConfigError("--spec-synth-len", length, expected)
            return cls((), chance_of(length, n_max), seed)
        return None

    def kept(self, position: int, n_draft: int) -> int:
        """Return how many tokens of a draft whose first stands at `position` are kept."""
        while position + n_draft > len(self._flips):
            self._flips += self._random.random(RUN).tolist()
        for depth in range(n_draft):
            chance = self.chances[depth] if depth < len(self.chances) else self.rest
            if self._flips[position + depth] >= chance:
                return depth
        return n_draft


def _conditional(text: str) -> list[float]:
    """Return the chances given those before, of chances that are not: each at most the one before it."""
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError:
        rates = [math.nan]
    if not all(0 <= b <= a <= 1 for a, b in zip([1.0, *rates], rates, strict=False)):
        raise ConfigError("--spec-synth-rates", text, "shares from 0 to 1, none above the one before it, as in 0.8,0.6")
    return [b / a if a else 0.0 for a, b in zip([1.0, *rates], rates, strict=False)]


def chance_of(length: float, n: int) -> float:
    """Return the chance p of each of n drafted tokens with which 1 + p + p^2 + ... + p^n tokens are a round."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(middle**i for i in range(n + 1)) < length else (low, middle)
    return (low + high) / 2


class ImposedSequence(Sequence):
    """A sequence of which `coins` say what is kept of a draft."""

    __slots__ = ("coins",)

    def __init__(self, coins: Coins, *given: Any) -> None:
        super().__init__(*given)
        self.coins = coins

    def accept(self, draft: List[int], result: StepResult, first_row: int) -> tuple[int, int]:
        """Return how many tokens of a draft the coins keep, and the one that is chosen after them."""
        n, token = self.coins.kept(len(self.tokens), len(draft)), 0
        # As many rows as a draft with so many hits would be compared with.
        for row in range(first_row, first_row + n + 1):
            _, token = super().accept((), result, row)
        return n, token


class ImposedLLM(LLM):
    """A model that drafts as it is told.

    Attributes:
        coins: Decide what is kept of drafts; None for the truth.
    """

    coins: Coins | None = None

    def _new_sequence(self, *given: Any) -> Sequence:
        return super()._new_sequence(*given) if self.coins is None else ImposedSequence(self.coins, *given)
