"""What a drafter's confidence turns out to mean."""

from __future__ import annotations

from collections.abc import Sequence

# Classes of confidence: tenths.
CLASSES = 10

# A drafter's own confidence counts as this many observations of its class; later evidence fades after `MEMORY`.
TRUST, MEMORY = 6.0, 64.0

# A token less likely than this to be kept is worth no row on any machine; no deeper one is looked at.
HOPELESS = 0.05

# No guess counts as surer than this.
SUREST = 0.999


class Calibration:
    """What a drafter's confidence has turned out to mean: hits by class of confidence."""

    def __init__(self) -> None:
        self._hits = [(i + 0.5) / CLASSES * TRUST for i in range(CLASSES)]
        self._tries = [TRUST] * CLASSES
        # How far the members of a class are off; within it they keep their order. Certainty belongs to the last class.
        self._shifts = [0.0] * (CLASSES + 1)

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
            chance = each + shifts[int(each * CLASSES)]
            if chance > SUREST:
                chance = SUREST
            if chance < p_min or len(found) == n_max or worth < HOPELESS:
                break
            worth *= chance if chance > 0.0 else 0.0
            found.append(worth)
        return found

    def observe(self, confidence: Sequence[float], n_verified: int, n_kept: int) -> None:
        """Learn from a draft; its tokens up to the first wrong one were put to the test, those after it were not."""
        hits, tries, shifts = self._hits, self._tries, self._shifts
        n = 0
        while n < n_verified and n <= n_kept:
            i = int(confidence[n] * CLASSES)
            if i == CLASSES:
                i -= 1
            fade = 1.0 if tries[i] < MEMORY else 1.0 - 1.0 / MEMORY
            tries[i] = tries[i] * fade + 1.0
            hits[i] = hits[i] * fade + (n < n_kept)
            shifts[i] = hits[i] / tries[i] - (i + 0.5) / CLASSES
            n += 1
        shifts[CLASSES] = shifts[CLASSES - 1]
