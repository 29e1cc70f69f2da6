"""What a drafter's confidence turns out to mean."""

from __future__ import annotations

from collections.abc import Sequence

# Classes of confidence: tenths.
CLASSES = 10

# What is expected of a class counts as this many observations of it; later evidence fades after `MEMORY`.
TRUST, MEMORY = 6.0, 64.0

# A token less likely than this to be kept is worth no row on any machine; no deeper one is looked at.
HOPELESS = 0.05

# No guess counts as surer than this.
SUREST = 0.999


class Calibration:
    """What a drafter's confidence has turned out to mean: hits by class of confidence.

    Of a class that was seen little the drafter's own confidence is believed, less what it was off over all classes.
    """

    def __init__(self) -> None:
        self._hits = [0.0] * CLASSES
        self._tries = [0.0] * CLASSES
        # By how much more guesses were right than they were said to be, and of how many.
        self._surplus = self._n = 0.0
        # How far the members of a class are off, as far as it was asked for since something was learned; within it they
        # keep their order. Certainty belongs to the last class.
        self._shifts: list[float | None] = [None] * (CLASSES + 1)

    def worths(self, confidence: Sequence[float], n_max: int, p_min: float) -> list[float]:
        """Return for each guess of a draft the chance that it is kept, with all before it.

        Args:
            confidence: The drafter's, for each guess.
            n_max: Most guesses to look at.
            p_min: Look no further than a guess less likely than this to be right.
        """
        shifts, worth = self._shifts, 1.0
        found: list[float] = []
        for each in confidence:
            i = int(each * CLASSES)
            shift = shifts[i]
            chance = each + (self._shift(i) if shift is None else shift)
            if chance > SUREST:
                chance = SUREST
            elif chance < 0.0:
                chance = 0.0
            if chance < p_min or len(found) == n_max or worth < HOPELESS:
                break
            worth *= chance
            found.append(worth)
        return found

    def shifts(self) -> list[float]:
        """Return for each class of confidence how far its members are off; certainty has a class of its own."""
        return [self._shift(i) if shift is None else shift for i, shift in enumerate(self._shifts)]

    def observe(self, confidence: Sequence[float], n_verified: int, n_kept: int) -> None:
        """Learn from a draft; its tokens up to the first wrong one were put to the test, those after it were not."""
        hits, tries = self._hits, self._tries
        n = 0
        while n < n_verified and n <= n_kept:
            said, is_right = confidence[n], n < n_kept
            i = int(said * CLASSES)
            if i == CLASSES:
                i -= 1
            fade = 1.0 if tries[i] < MEMORY else 1.0 - 1.0 / MEMORY
            tries[i] = tries[i] * fade + 1.0
            hits[i] = hits[i] * fade + is_right
            fade = 1.0 if self._n < MEMORY else 1.0 - 1.0 / MEMORY
            self._n = self._n * fade + 1.0
            self._surplus = self._surplus * fade + is_right - said
            n += 1
        self._shifts = [None] * (CLASSES + 1)

    def _shift(self, i: int) -> float:
        """Return how far the members of a class are off, by what was seen."""
        of = min(i, CLASSES - 1)
        middle = (of + 0.5) / CLASSES
        expected = min(max(middle + self._surplus / (self._n + TRUST), 0.0), SUREST)
        found = self._shifts[i] = (self._hits[of] + TRUST * expected) / (self._tries[of] + TRUST) - middle
        return found
