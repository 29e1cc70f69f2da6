"""How much of each draft is worth verifying: the most expected tokens for the expected time, zero included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from outpace.speculate.cost import StepCosts
from outpace.speculate.drafter import Draft

# Classes of confidence: tenths.
CLASSES = 10

# A drafter's own confidence counts as this many observations of its class; later evidence fades after `MEMORY`.
TRUST, MEMORY = 6.0, 64.0

# Share of the time that may go into drafts believed not to pay, to find out whether they do by now.
PROBE_SHARE = 0.01

# The purse takes no more once it holds this many plain steps.
MOST_IN_PURSE = 2.0

# After so many rounds that all drafted, one is plain: without it the cost of drafting could not be told.
MOST_WITHOUT_PLAIN = 48

# One in so many plain steps is learned from: they are alike, and a step leaves Python's memory cold.
PLAIN_TAKEN = 4

# A gain smaller than this is not worth the risk of a wrong estimate.
MARGIN = 1.02


# A token less likely than this to be kept is worth no row on any machine; no deeper one is looked at.
HOPELESS = 0.05

# No guess counts as surer than this.
SUREST = 0.999


class Policy(Protocol):
    """Decides each round how many tokens of each sequence's draft are verified."""

    n_max: int

    def choose(self, drafts: Sequence[Draft], n_rows: int, room: int) -> list[int]:
        """Return how many tokens of each draft to verify.

        Args:
            drafts: The draft of each decoding sequence; empty ones too, for those count as tokens that are coming.
            n_rows: Rows of the step without any draft.
            room: Most rows that may be added.
        """

    def observe(self, draft: Draft, n_verified: int, n_kept: int) -> None:
        """Learn how a draft fared: `n_verified` of its tokens were in the step, the first `n_kept` were right."""

    def timed(self, n_rows: int, n_drafted: int, seconds: float) -> None:
        """Learn how long a step of `n_rows` rows took, `n_drafted` of them drafts and none of them a prompt's."""


class FixedDepth:
    """Verify `n` tokens whenever there are as many, paying or not: for tests and benches."""

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

    def observe(self, draft: Draft, n_verified: int, n_kept: int) -> None:
        """Learn nothing."""

    def timed(self, n_rows: int, n_drafted: int, seconds: float) -> None:
        """Learn nothing."""


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


class AutoDepth:
    """Verify as many tokens as raise expected tokens per expected second, over all sequences of the step together.

    A token is kept only if all before it are, so its worth is the product of chances up to it. Rows of one step are
    paid for together, so the candidates of all sequences are taken in order of worth, and the best prefix wins. Time
    that prefill rows of the same step take is not the drafts' to pay; only what they add is.

    What would not pay may be tried now and then out of a purse that fills with `PROBE_SHARE` of the time spent.

    State: step costs, calibration of confidence, the purse.
    """

    def __init__(
        self,
        costs: StepCosts,
        n_max: int,
        n_min: int = 0,
        p_min: float = 0.0,
        measure: Callable[[], StepCosts | None] | None = None,
    ) -> None:
        """Decide by `costs`, for drafts of at most `n_max` tokens.

        Args:
            costs: Seconds of a step by width.
            n_max: Most tokens of a draft that are verified.
            n_min: Shorter ones are not.
            p_min: A draft ends at a token less likely to be right than this.
            measure: Asked for better costs when there is a first draft to judge, not before: a text that never
                drafts does not wait for it. None where it cannot tell now; then it is asked again at the next draft.
        """
        self.n_max = n_max
        self.costs = costs
        self._measure, self._has_measured = measure, False
        self._n_min, self._p_min = n_min, p_min
        self._calibration = Calibration()
        self._purse = 0.0
        self._n_without_plain = self._n_plain = 0

    def choose(self, drafts: Sequence[Draft], n_rows: int, room: int) -> list[int]:
        """Return the depths with the best expected rate."""
        found = [self._calibration.worths(draft.confidence, self.n_max, self._p_min) for draft in drafts]
        candidates: list[tuple[float, int]] = []
        worths = found[0]
        if len(found) > 1:
            candidates = [(worth, i) for i, each in enumerate(found) for worth in each]
            candidates.sort(key=_worth, reverse=True)
            worths = [worth for worth, _ in candidates]
        chosen = [0] * len(drafts)
        if not worths or room < 1 or self._n_without_plain >= MOST_WITHOUT_PLAIN:
            return chosen
        if self._measure is not None and (costs := self._measure()) is not None:
            self.costs, self._measure, self._has_measured = costs, None, True
        n = self._best_prefix(worths, room, len(drafts), n_rows)
        if len(found) == 1:
            chosen[0] = n
        for _, i in candidates[:n]:
            chosen[i] += 1
        if self._n_min > 1:
            chosen = [n if n >= self._n_min else 0 for n in chosen]
        return chosen

    def _best_prefix(self, worths: Sequence[float], room: int, n_sequences: int, n_rows: int) -> int:
        """Return how many of the candidates, best first, to verify."""
        ratio = self.costs.ratio
        tokens = float(n_sequences)
        plain_time = ratio(n_sequences)
        others = ratio(n_rows) - plain_time
        best, best_rate = 0, tokens / plain_time * MARGIN
        for n, worth in enumerate(worths, 1):
            if n > room:
                break
            tokens += worth
            rate = tokens / (ratio(n_rows + n) - others)
            if rate > best_rate:
                best, best_rate = n, rate
        if best == 0:
            price = ratio(n_rows + 1) - ratio(n_rows)
            if self._purse > price:
                self._purse -= price
                return 1
        return best

    def observe(self, draft: Draft, n_verified: int, n_kept: int) -> None:
        """Calibrate."""
        self._calibration.observe(draft.confidence, n_verified, n_kept)

    def timed(self, n_rows: int, n_drafted: int, seconds: float) -> None:
        """Refine the cost of this width and fill the purse (in plain steps)."""
        if self._has_measured:
            # This round has waited for the measurement; what it took tells nothing of a step.
            self._has_measured = False
            return
        n = 1
        if n_drafted == 0:
            self._n_without_plain = 0
            self._n_plain += 1
            if self._n_plain % PLAIN_TAKEN:
                return
            n = PLAIN_TAKEN
        else:
            self._n_without_plain += 1
        self.costs.observe(n_rows, seconds, is_plain=n_drafted == 0)
        if self._purse < MOST_IN_PURSE:
            self._purse += n * PROBE_SHARE * self.costs.ratio(n_rows)


def _worth(candidate: tuple[float, int]) -> float:
    return candidate[0]
