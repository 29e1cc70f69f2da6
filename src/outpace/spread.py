"""One quantity measured again and again: the middle value, where the true one is, and what may be said of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# An interval around a median leaves out the truth at most this often.
RISK: Final = 0.1

# With fewer values even the extremes are no such interval.
LEAST_ROUNDS: Final = 5


@dataclass(frozen=True, slots=True)
class Spread:
    """Values of one quantity, summed up.

    Attributes:
        median: The middle one.
        q1, q3: A quarter of the values is below, a quarter above.
        low, high: Where the true median is, by the sign test at `RISK`; with few values their extremes.
        n: How many there were.
    """

    median: float
    q1: float
    q3: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Sum up one or more values."""
        found = sorted(values)
        n = len(found)
        q1, median, q3 = statistics.quantiles(found, n=4, method="inclusive") if n > 1 else found * 3
        at = _outermost(n)
        return cls(median, q1, q3, found[at], found[n - 1 - at], n)

    def as_json(self) -> dict[str, float]:
        """Return it with as many digits as mean something."""
        return {name: float(f"{getattr(self, name):.5g}") for name in ("median", "q1", "q3", "low", "high")} | {
            "n": self.n
        }


def _outermost(n: int) -> int:
    """Return how many values may be left out at each end of n sorted ones."""
    outside, k = 2 * 0.5**n, 0
    while outside <= RISK and k + 1 < (n + 1) // 2:
        more = outside + 2 * math.comb(n, k + 1) * 0.5**n
        if more > RISK:
            break
        outside, k = more, k + 1
    return k


def ratios(a: Sequence[float], b: Sequence[float]) -> Spread:
    """Return a / b, paired value by value: what slowed one round slowed both."""
    return Spread.of([x / y for x, y in zip(a, b, strict=True)])


def verdict(found: Spread, threshold: float, *, at_most: bool = False) -> str:
    """Say whether a threshold is met: `met`, `not met`, or that too few rounds or the noise do not allow to say."""
    if found.n < LEAST_ROUNDS:
        return f"no verdict before {LEAST_ROUNDS} rounds"
    if (found.high <= threshold) if at_most else (found.low >= threshold):
        return "met"
    if (found.low > threshold) if at_most else (found.high < threshold):
        return "not met"
    return "inside the noise"


def direction(found: Spread) -> str:
    """Say what a ratio of speeds means: `faster`, `slower`, or that too few values or the noise do not allow to say."""
    if found.n < LEAST_ROUNDS:
        return f"no verdict before {LEAST_ROUNDS} rounds"
    return "faster" if found.low > 1 else "slower" if found.high < 1 else "inside the noise"
