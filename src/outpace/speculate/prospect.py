"""What the model's own head may be expected to give, by depth, and what a step of it costs."""

from __future__ import annotations

from outpace.speculate.calibration import HOPELESS

# Before anything was seen, the nearest guess is taken to be right this often, and each further one, given that those
# before it were, as often as the one before; these count as so many observations, of the nearest and of a further one.
# All evidence fades within `MEMORY` rounds, that of depths which are not tried any more too: a run of bad luck is not
# believed for good.
PRIOR, TRUST, FURTHER_TRUST, MEMORY = 0.7, 4.0, 8.0, 64.0

# A weight above this is taken out of all sums.
MOST_WEIGHT = 1e100

# Before it was measured, a step of the head is taken to cost this share of a plain step.
UNKNOWN_COST = 0.12

# How fast the cost follows what is measured.
COST_RATE = 0.1

# A head whose first guess was right less often than this, over at least so many tries, belongs to another model.
DEAD_SHARE, DEAD_TRIES = 0.02, 60


class Prospect:
    """Hits by depth, seconds by number of sequences.

    State: both, learned as rounds go by.
    """

    def __init__(self) -> None:
        # Each round weighs more than those before it, which comes to the same as if they faded.
        self._hits: list[float] = []
        self._tries: list[float] = []
        self._weight = 1.0
        # By depth, as far as they were asked for since they changed.
        self._chances: list[float] = []
        self._seconds: dict[int, float] = {}
        self._n_first = self._n_first_right = 0

    @property
    def is_dead(self) -> bool:
        """Whether the head never agrees."""
        return self._n_first >= DEAD_TRIES and self._n_first_right < DEAD_SHARE * self._n_first

    def chance(self, depth: int) -> float:
        """Return the chance that the guess at `depth` (0 is the nearest) is right if those before it are."""
        chances, tries = self._chances, self._tries
        if depth >= len(tries):
            if not tries:
                return PRIOR
            depth = len(tries) - 1
        for i in range(len(chances), depth + 1):
            trust = (FURTHER_TRUST if i else TRUST) * self._weight
            chances.append((self._hits[i] + trust * (chances[-1] if i else PRIOR)) / (tries[i] + trust))
        return chances[depth]

    def seconds(self, n_sequences: int, plain_s: float) -> float:
        """Return the seconds of a step of the head for so many sequences, given those of a plain step."""
        if not self._seconds:
            return UNKNOWN_COST * plain_s
        known = self._seconds.get(n_sequences)
        return known if known is not None else self._seconds[min(self._seconds, key=lambda n: abs(n - n_sequences))]

    def timed(self, n_sequences: int, seconds: float, *, is_cold: bool = False) -> None:
        """Learn what a step of the head took.

        The first one after a while finds its weights in no cache. Such a step is news only if it took less: or a head
        that is tried now and then would look dear for that alone, and be tried no more often.
        """
        known = self._seconds.get(n_sequences)
        if is_cold:
            if known is not None and seconds < known:
                self._seconds[n_sequences] = seconds
        elif known is None:
            self._seconds[n_sequences] = seconds
        else:
            # One disturbed step is no news of the next.
            self._seconds[n_sequences] += COST_RATE * (min(seconds, 2.0 * known) - known)

    def observe(self, n_verified: int, n_kept: int) -> None:
        """Learn how a draft fared; guesses after the first wrong one were not put to the test."""
        hits, tries, n_tested = self._hits, self._tries, min(n_kept + 1, n_verified)
        while len(tries) < n_tested:
            tries.append(0.0)
            hits.append(0.0)
        self._weight = weight = self._weight / (1.0 - 1.0 / MEMORY)
        for depth in range(n_tested):
            tries[depth] += weight
            if depth < n_kept:
                hits[depth] += weight
        self._chances.clear()
        if weight > MOST_WEIGHT:
            self._hits, self._tries = [each / weight for each in hits], [each / weight for each in tries]
            self._weight = 1.0
        if n_verified:
            self._n_first += 1
            self._n_first_right += n_kept > 0

    def worths(self, n: int) -> list[float]:
        """Return for each depth up to n the chance that the guess there is kept; none beyond the first hopeless one."""
        found: list[float] = []
        worth = 1.0
        for depth in range(n):
            worth *= self.chance(depth)
            found.append(worth)
            if worth < HOPELESS:
                break
        return found
