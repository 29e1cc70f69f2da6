"""When guessing goes on: said before it begins, so that nobody need be asked between two guesses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from outpace.speculate.calibration import CLASSES, SUREST


class Rule(NamedTuple):
    """What a guess must be worth for another one to be made after it.

    A guess is worth the chance that it is kept, with all before it: for each what the drafter says and the shift of its
    class of confidence together, from 0 to `surest`.

    Attributes:
        least: For each number of guesses, from 1 on: another is made if the last ones of all sequences that have so
            many are together worth more than this. After as many as there are here none is made.
        shifts: For each class of confidence how far its members are off; see `calibration.Calibration.shifts`.
        p_min: A guess less likely than this to be right ends the draft.
        surest: No guess counts as surer.
    """

    least: Sequence[float]
    shifts: Sequence[float] = (0.0,) * (CLASSES + 1)
    p_min: float = 0.0
    surest: float = SUREST

    def goes_on(self, chances: Sequence[Sequence[float]]) -> bool:
        """Return whether another guess is made, told what the drafter says of all those so far, for each sequence."""
        n = max(map(len, chances))
        if n > len(self.least):
            return False
        return sum(self._worth(each) for each in chances if len(each) == n) > self.least[n - 1]

    def _worth(self, chances: Sequence[float]) -> float:
        worth = 1.0
        for each in chances:
            chance = min(max(each + self.shifts[int(each * CLASSES)], 0.0), self.surest)
            worth = worth * chance if chance >= self.p_min else 0.0
        return worth
