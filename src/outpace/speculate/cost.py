"""How long a step of each width takes here: measured before the first draft, refined by every step that runs."""

from __future__ import annotations

from collections.abc import Callable

# Widths that are measured; those between are interpolated, those beyond follow the last slope.
WIDTHS = (1, 2, 3, 4, 8, 16)

# For every width up to the widest: the measured ones it lies between (the same twice if it is one), and how far it is
# from the first of them to the second.
BETWEEN = [(0, 0, 0.0)] + [
    (i, i, 0.0) if width == high else (i - 1, i, (width - low) / (high - low))
    for i, (low, high) in enumerate(zip((0, *WIDTHS), WIDTHS, strict=False))
    for width in range(low + 1, high + 1)
]

# A plain step moves the factor by this share of what it tells, by more as the first after steps with drafts, and while
# few were seen: the machine may have been busy when the file was loaded. One with drafts moves its ratio by half of it
# at first and, as it is seen more often, by less, down to the last number.
FACTOR_RATE, RARE_RATE, RATIO_RATE = 0.2, 0.35, 0.05

# A width that was not used between two plain steps goes so far towards what the widths on both sides say, where that is
# less: one that was disturbed when it was timed would not be used again, and what it costs never be known.
FORGETTING = 0.1

# A step that took this many times its estimate (or its inverse) was disturbed; it counts as this much.
MOST_SURPRISE = 1.5

# Each width is measured so often where there is time: a step of a small model is seldom disturbed more often, and who
# waits for the first answer pays for more.
RUNS = 5

# All of it may take so many plain steps, or so many seconds if that is more, and never more than the budget: a short
# answer waits for it too.
BUDGET_STEPS, LEAST_BUDGET_S = 8, 0.01

# Before anything is measured, each row beyond the first is taken to add this share of a step.
UNKNOWN_SLOPE = 0.06


class StepCosts:
    """Seconds of a step by the number of its rows.

    State: the seconds of a step of one row, which follow the machine's mood and the growing context; and for each of
    `WIDTHS` the ratio to that. Choices of depth depend on the ratios alone. Plain steps must therefore be seen now
    and then, or what slows every width would look like the price of drafting.
    """

    def __init__(self, seconds: dict[int, float] | None = None) -> None:
        """Start from measured seconds by width (all of them in `WIDTHS`), or from a guess."""
        measured = seconds or {}
        ratios = _ratios(measured)
        self._factor = measured.get(1, 0.0)
        self._ratios = [_between(ratios, width) for width in WIDTHS]
        self._n_seen = [1] * len(WIDTHS)
        # Those that were used since the last plain step.
        self._used: set[int] = set()
        self._n_plain = 0
        self._smooth()

    def __call__(self, width: int) -> float:
        """Return the seconds of a step of `width` rows, all of them wanted (0 rows: nothing)."""
        return self._factor * self.ratio(width)

    def ratio(self, width: int) -> float:
        """Return how many times a step of one row a step of `width` rows takes."""
        if width > WIDTHS[-1]:
            before, last = self._ratios[-2:]
            return last + (last - before) / (WIDTHS[-1] - WIDTHS[-2]) * (width - WIDTHS[-1])
        if width < 1:
            return 0.0
        i, j, share = BETWEEN[width]
        low = self._ratios[i]
        return low + (self._ratios[j] - low) * share

    def observe(self, width: int, seconds: float, *, is_plain: bool) -> float:
        """Learn from a step that ran; `is_plain` if nothing in it was drafted.

        Returns:
            How many times longer it took than was expected.
        """
        if width > WIDTHS[-1]:
            return 1.0
        expected = self(width)
        if expected <= 0:
            self._factor = seconds / self.ratio(width)
            return 1.0
        surprise = told = seconds / expected
        if seconds * MOST_SURPRISE < self._factor:
            # No step takes so much less than a narrower one: the machine was busy when plain steps were timed.
            self._factor *= surprise
            return told
        if surprise > MOST_SURPRISE:
            surprise = MOST_SURPRISE
        elif surprise < 1 / MOST_SURPRISE:
            surprise = 1 / MOST_SURPRISE
        if is_plain:
            self._n_plain += 1
            rate = RARE_RATE if self._used else FACTOR_RATE
            self._factor *= 1.0 + max(rate, 1.0 / (1.0 + self._n_plain)) * (surprise - 1.0)
            if self._used:
                self._forget()
            return told
        i, j, _ = BETWEEN[width]
        self._move(j, surprise)
        if 0 < i < j:
            self._move(i, surprise)
        self._smooth()
        return told

    def _move(self, i: int, surprise: float) -> None:
        """Move a measured width's ratio by its share of a surprise."""
        self._n_seen[i] += 1
        self._used.add(i)
        rate = 0.5 / self._n_seen[i]
        self._ratios[i] *= 1.0 + (rate if rate > RATIO_RATE else RATIO_RATE) * (surprise - 1.0)

    def _forget(self) -> None:
        """Let widths that were not used since this was called last be tried again."""
        ratios = self._ratios
        for i in range(1, len(WIDTHS) - 1):
            if i in self._used:
                continue
            expected = _between({WIDTHS[j]: ratios[j] for j in (i - 1, i + 1)}, WIDTHS[i])
            ratios[i] += FORGETTING * min(expected - ratios[i], 0.0)
        self._used.clear()
        self._smooth()

    def _smooth(self) -> None:
        """Let no wider step count as cheaper than a narrower one."""
        ratios, low, i = self._ratios, 1.0, 0
        ratios[0] = 1.0
        for high in ratios:
            if high < low:
                ratios[i] = high = low
            low, i = high, i + 1


def _ratios(seconds: dict[int, float]) -> dict[int, float]:
    """Return how many times those of width 1 the seconds of each width are; of width 1 alone where it has none."""
    plain = seconds.get(1, 0.0)
    return {width: each / plain for width, each in seconds.items()} if plain > 0 else {1: 1.0}


def _between(ratios: dict[int, float], width: int) -> float:
    """Return the ratio of a width: what is known of it, or what follows from those on both sides or from the last two.

    Args:
        ratios: Of at least width 1.
        width: Which.
    """
    if width in ratios:
        return ratios[width]
    below = max(known for known in ratios if known < width)
    above = min((known for known in ratios if known > width), default=0)
    if above:
        slope = (ratios[above] - ratios[below]) / (above - below)
    elif below > 1:
        before = max(known for known in ratios if known < below)
        slope = max(ratios[below] - ratios[before], 0.0) / (below - before)
    else:
        slope = UNKNOWN_SLOPE
    return ratios[below] + slope * (width - below)


def measure(run: Callable[[int], float], budget_s: float = 0.05, most: int = WIDTHS[-1]) -> StepCosts:
    """Time steps of each width, the fastest of up to `RUNS` each, within a budget.

    Args:
        run: Runs one step of that many rows, all wanted, and returns its seconds.
        budget_s: No step is begun that would end later than this, but one of width 1; less of a small model's.
        most: Widest step the executable takes.
    """
    # The first may find its memory cold; where there is no time for a second, the other widths are guessed anyway.
    spent = run(1)
    seconds = {1: spent}
    if 2 * spent <= budget_s:
        seconds[1] = run(1)
        spent += seconds[1]
    budget_s = min(budget_s, max(BUDGET_STEPS * seconds[1], LEAST_BUDGET_S))
    for _ in range(RUNS):
        for width in WIDTHS:
            narrower = {known: each for known, each in seconds.items() if known < width}
            expected = seconds[1] * _between(_ratios(narrower), width) if narrower else seconds[1]
            if width > most or spent + seconds.get(width, expected) > budget_s:
                continue
            took = run(width)
            spent += took
            # Once disturbed and never used, a width would count as dear for good.
            seconds[width] = min(took, seconds.get(width, MOST_SURPRISE * expected))
    return StepCosts(seconds)
