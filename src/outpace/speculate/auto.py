"""How much of each draft is worth verifying: what pays for its time in the long run, nothing included."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from outpace.speculate.calibration import Calibration
from outpace.speculate.cost import StepCosts
from outpace.speculate.drafter import Draft
from outpace.speculate.prospect import Prospect
from outpace.speculate.rate import LongRun
from outpace.speculate.rule import Rule
from outpace.speculate.speculator import SPECULATORS

# Share of the time that may go into drafts believed not to pay, to find out whether they do by now.
PROBE_SHARE = 0.005

# The purse takes no more once it holds this many plain steps.
MOST_IN_PURSE = 2.0

# What a head reads before its first guess is paid after the fact: at most so many plain steps' worth.
MOST_DEBT = 64.0

# After so many rounds that all drafted, one is plain: without it the cost of drafting could not be told. At first soon,
# for little is known; then twice as many each time, up to the second number.
FIRST_WITHOUT_PLAIN, MOST_WITHOUT_PLAIN = 8, 64

# Of plain steps in a row, one in so many is learned from: they are alike, and a step leaves Python's memory cold.
PLAIN_TAKEN = 4

# Where such a plain step took so many times what was expected (or the inverse), little was known, and the next is plain
# too; at most so many more in a row.
UNBELIEVED, MOST_AGAIN = 1.25, 3

# How far the head goes is worked out anew after so many rounds: what it depends on is learned slowly.
RULED_FOR = 8

# A head that does not pay is not asked for so many rounds: without a guess of its own little changes, and on a small
# model what the answer costs would be felt.
REFUSED_FOR = 16

# A gain smaller than this is not worth the risk of a wrong estimate.
MARGIN = 1.02


class AutoDepth:
    """Verify as many tokens as are worth their time, over all sequences of the step together.

    A token is kept only if all before it are, so its worth is the product of chances up to it. Rows of one step are
    paid for together, so the candidates of all sequences are taken in order of worth, and the best prefix wins: the one
    with the most tokens for its time, or a longer one where that is better than what time gives in the long run
    (docs/decisions/0015). What prefill rows of the same step take is not the drafts' to pay; only what they add is.

    What would not pay may be tried now and then out of a purse that fills with `PROBE_SHARE` of the time spent.

    State: step costs, calibration of confidence, the rate in the long run, the purse.
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
        self._calibrations: dict[str, Calibration] = {}
        self.prospect = Prospect()
        # Of all rounds, and of those in which the head drafted.
        self._long_run, self._headed = LongRun(), LongRun()
        # Of this round: what the head's steps have taken, also in plain steps once rows are chosen, and the step it
        # drafts for (sequences, rows, those it has).
        self._spent_s = self._spent = 0.0
        self._round = (1, 1, 1)
        # Whether the head has drafted in this round, and had in the one before.
        self._drafts = self._has_drafted = False
        # With how many rows the head was refused last, and for how many rounds that stands.
        self._refused = self._n_refused = 0
        # How far the head goes, in which kind of round (as `_round`), and for how many more of them.
        self._rule, self._ruled, self._n_ruled = Rule(()), self._round, 0
        self._purse = 0.0
        self._n_without_plain = self._n_plain = self._n_again = 0
        self._most_without_plain = FIRST_WITHOUT_PLAIN

    def choose(self, drafts: Sequence[Draft], n_rows: int, room: int) -> list[int]:
        """Return the depths with the best expected rate."""
        found = [self._worths(draft) for draft in drafts]
        candidates: list[tuple[float, int]] = []
        worths = found[0]
        if len(found) > 1:
            candidates = [(worth, i) for i, each in enumerate(found) for worth in each]
            candidates.sort(key=_worth, reverse=True)
            worths = [worth for worth, _ in candidates]
        chosen = [0] * len(drafts)
        if not worths or room < 1 or self._must_be_plain:
            return chosen
        self._settle_costs()
        n, _ = self._best_prefix(worths, room, len(drafts), n_rows)
        if n == 0 and self._pays(self.costs.ratio(n_rows + 1) - self.costs.ratio(n_rows)):
            n = 1
        if len(found) == 1:
            chosen[0] = n
        for _, i in candidates[:n]:
            chosen[i] += 1
        if self._n_min > 1:
            chosen = [n if n >= self._n_min else 0 for n in chosen]
        self._spent, self._spent_s = self._steps_of(self._spent_s), 0.0
        return chosen

    @property
    def has_dropped_head(self) -> bool:
        """Whether the head was never right, over many rounds."""
        return self.prospect.is_dead

    @property
    def _must_be_plain(self) -> bool:
        return self._n_without_plain >= self._most_without_plain

    def _settle_costs(self) -> None:
        """Have the costs measured, if they were not and can be now."""
        if self._measure is not None and (costs := self._measure()) is not None:
            self.costs, self._measure, self._has_measured = costs, None, True

    def _worths(self, draft: Draft) -> list[float]:
        return self._calibration(draft.source).worths(draft.confidence, self.n_max, self._p_min)

    def _calibration(self, source: str) -> Calibration:
        """Return what is known of a source's drafts; of speculators only one runs."""
        kind = SPECULATORS[0] if source in SPECULATORS else source
        calibration = self._calibrations.get(kind)
        if calibration is None:
            calibration = self._calibrations[kind] = Calibration()
        return calibration

    def _pays(self, price: float) -> bool:
        """Take the price of a trial, in plain steps, out of the purse if it is there."""
        if self._purse <= price:
            return False
        self._purse -= price
        return True

    def _best_prefix(self, worths: Sequence[float], room: int, n_sequences: int, n_rows: int) -> tuple[int, float]:
        """Return how many of the candidates, best first, to verify, and the tokens for each plain step's time then."""
        ratio = self.costs.ratio
        tokens, plain_time = float(n_sequences), ratio(n_sequences) + self._steps_of(self._spent_s)
        others = ratio(n_rows) - plain_time
        # Where the head has drafted already, the risk has been taken.
        best, best_rate = 0, tokens / plain_time * (1.0 if self._spent_s else MARGIN)
        for n, worth in enumerate(worths[:room], 1):
            tokens += worth
            rate = tokens / (ratio(n_rows + n) - others)
            if rate > best_rate:
                best, best_rate = n, rate
        least = self._least_rate(n_sequences)
        if best and best_rate > least:
            # This round is better than most: what it leaves undone others would make less of.
            surplus = most = 0.0
            for n, worth in enumerate(worths[best:room], best + 1):
                surplus += worth - least * (ratio(n_rows + n) - ratio(n_rows + n - 1))
                if surplus > most:
                    best, most = n, surplus
        return best, best_rate

    def _least_rate(self, n_sequences: int) -> float:
        """Return the tokens that a plain step's time brings in the long run."""
        return self._long_run.rate * n_sequences / self.costs.ratio(n_sequences)

    def _steps_of(self, seconds: float) -> float:
        """Return seconds in plain steps."""
        plain = self.costs(1) if seconds else 0.0
        return seconds / plain if plain else 0.0

    def rests(self, n_rows: int) -> bool:
        """Let the head rest for a while after it was refused."""
        if not self._n_refused or n_rows != self._refused:
            return False
        self._n_refused -= 1
        return True

    def ahead(self, drafts: Sequence[Draft], is_ready: Sequence[bool], n_rows: int, room: int) -> list[int]:
        """Let the head draft where its record promises more than what is there."""
        self._spent_s = 0.0
        self._has_drafted, self._drafts = self._drafts, False
        none = [0] * len(drafts)
        if room < 1 or self._must_be_plain:
            return none
        if len(drafts) == 1 and not drafts[0].tokens and is_ready[0] and self._headed.rate > MARGIN:
            # As the whole of what follows would have it, which is what a small model most often asks.
            self._settle_costs()
            self._round = 1, n_rows, 1
            return [min(self.n_max, room)]
        if self.prospect.is_dead:
            return none
        self._settle_costs()
        found = [self._worths(draft) for draft in drafts]
        at_hand = sorted((worth for each in found for worth in each), reverse=True)
        n, rate = self._best_prefix(at_hand, room, len(drafts), n_rows)
        least = at_hand[n - 1] if n else 2.0
        kept = [sum(worth for worth in each if worth >= least) for each in found]
        worths = self.prospect.worths(self.n_max)
        promised = sum(worths)
        # Sequences that a copy serves better keep it.
        takers = [ready and each < promised for ready, each in zip(is_ready, kept, strict=True)]
        n_takers = sum(takers)
        most = min(self.n_max, room // n_takers) if n_takers else 0
        self._round = len(drafts), n_rows, n_takers
        if most and (self._promises(worths[:most], rate) or self._pays(self._step + self._rows_price(n_takers))):
            return [most if taker else 0 for taker in takers]
        # What copies have won says nothing of the rounds without any.
        self._refused, self._n_refused = n_rows, 0 if any(draft.tokens for draft in drafts) else REFUSED_FOR
        return none

    @property
    def _step(self) -> float:
        """What a step of the head costs, in plain steps."""
        return self._steps_of(self.prospect.seconds(self._round[2], self.costs(1)))

    def _rows_price(self, n: int) -> float:
        """Return what n rows more in this round's step cost, in plain steps."""
        n_rows = self._round[1]
        return self.costs.ratio(n_rows + n) - self.costs.ratio(n_rows)

    def _promises(self, worths: Sequence[float], rate: float) -> bool:
        """Return whether some depth is expected to beat `rate`."""
        n_sequences, n_rows, n_takers = self._round
        ratio, step = self.costs.ratio, self._step
        if self._headed.rate * n_sequences / ratio(n_sequences) > rate:
            # What is seldom right may pay all the same: the head says of each guess how sure it is.
            return True
        tokens, time = float(n_sequences), ratio(n_sequences) - ratio(n_rows)
        for worth in worths:
            tokens += n_takers * worth
            time += step
            n_rows += n_takers
            if tokens > rate * (time + ratio(n_rows)):
                return True
        return False

    def rule(self) -> Rule:
        """Go on while a token more is worth more than its time is in the long run."""
        if not self._n_ruled or self._ruled != self._round:
            self._rule, self._ruled, self._n_ruled = self._new_rule(), self._round, RULED_FOR
        self._n_ruled -= 1
        return self._rule

    def _new_rule(self) -> Rule:
        n_sequences, n_rows, n_takers = self._round
        ratio, step, rate = self.costs.ratio, self._step, self._least_rate(n_sequences)
        rows, least = ratio(n_rows + n_takers), []
        for depth in range(1, self.n_max):
            before, rows = rows, ratio(n_rows + (depth + 1) * n_takers)
            least.append(rate * (step + rows - before) / self.prospect.chance(depth))
        return Rule(least, self._calibration(SPECULATORS[0]).shifts(), self._p_min)

    def drafted(self, steps: Sequence[tuple[int, float]], read_s: float) -> None:
        """Learn the cost of a step of the head; what is read before its first one is a trial's price."""
        if read_s:
            self._purse = max(self._purse - self._steps_of(read_s), -MOST_DEBT)
        if not steps:
            return
        for n_sequences, seconds in steps:
            self.prospect.timed(n_sequences, seconds, is_cold=not self._has_drafted)
            self._spent_s += seconds
        self._n_refused = 0
        self._drafts = True

    def observe(self, draft: Draft, n_verified: int, n_kept: int) -> None:
        """Calibrate."""
        self._calibration(draft.source).observe(draft.confidence, n_verified, n_kept)
        if draft.source in SPECULATORS:
            self._n_refused = 0
            self.prospect.observe(n_verified, n_kept)

    def timed(self, n_rows: int, n_drafted: int, n_kept: int, seconds: float) -> None:
        """Refine the cost of this width and the rate in the long run, and fill the purse (in plain steps)."""
        spent, self._spent = self._spent, 0.0
        if self._has_measured:
            # This round has waited for the measurement; what it took tells nothing of a step.
            self._has_measured = False
            return
        n = 1
        # The first plain one after drafts is what the next drafts are compared with.
        is_first = not n_drafted and self._n_without_plain > 0
        if n_drafted:
            self._n_without_plain += 1
        elif not is_first:
            self._n_plain += 1
            if self._n_plain % PLAIN_TAKEN:
                return
            n = PLAIN_TAKEN
        surprise = self.costs.observe(n_rows, seconds, is_plain=n_drafted == 0)
        if is_first:
            self._end_drafts(surprise)
        ratio, n_sequences = self.costs.ratio, n_rows - n_drafted
        time = ratio(n_rows)
        tokens = (1.0 + n_kept / n_sequences) * ratio(n_sequences)
        self._long_run.observe(n * tokens, n * (time + spent))
        if spent:
            self._headed.observe(tokens, time + spent)
        if self._purse < MOST_IN_PURSE:
            self._purse += n * PROBE_SHARE * time

    def _end_drafts(self, surprise: float) -> None:
        """Count drafts from 0 again after a plain step, unless that took so long or short that one is not enough."""
        if self._must_be_plain:
            if self._n_again < MOST_AGAIN and not 1 / UNBELIEVED < surprise < UNBELIEVED:
                self._n_again += 1
                return
            self._most_without_plain = min(2 * self._most_without_plain, MOST_WITHOUT_PLAIN)
        self._n_without_plain = self._n_plain = self._n_again = 0


def _worth(candidate: tuple[float, int]) -> float:
    return candidate[0]
