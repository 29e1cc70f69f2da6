"""What rounds give for their time, in the long run: what a row more or a guess more has to beat."""

from __future__ import annotations

# How many rounds count.
MEMORY = 100.0

# Rounds at the beginning are believed as much as so many plain ones.
TRUST = 10.0


class LongRun:
    """Tokens for the time of a plain step, over the last rounds; plain decoding has 1.

    A round that takes longer takes from those after it: in the long run most is written where every row and every
    guess is weighed against what time gives on average, not against its own round, which may be better or worse than
    most. (Renewal reward: tokens - rate * time is largest for all rounds where it is largest for each.)

    State: the sums of both, fading.
    """

    def __init__(self) -> None:
        self._tokens = self._time = TRUST
        self.rate = 1.0

    def observe(self, tokens: float, time: float) -> None:
        """Learn from a round.

        Args:
            tokens: What it wrote, in multiples of what a plain round of the same sequences writes in a plain step's
                time.
            time: What it took, in plain steps.
        """
        self._tokens = self._tokens * (1.0 - 1.0 / MEMORY) + tokens
        self._time = self._time * (1.0 - 1.0 / MEMORY) + time
        # Nobody need write less than plain decoding.
        self.rate = self._tokens / self._time if self._tokens > self._time else 1.0
