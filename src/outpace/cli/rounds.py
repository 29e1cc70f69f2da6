"""Whole rounds of drafting, timed by their parts: the head's steps, catching up, verification, and what Python does."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from outpace.backends.backend import DraftExecutable, Executable
from outpace.cli.imposed import Coins, ImposedSequence, chance_of
from outpace.cli.measure import WARM_UPS, Subject
from outpace.engine.engine import Engine
from outpace.engine.output import Output
from outpace.engine.sequence import Request
from outpace.graph.cost import state_spec
from outpace.graph.step import Step, StepResult
from outpace.sampling.params import SamplingParams
from outpace.sampling.sampler import Sampler
from outpace.speculate.mtp import Head
from outpace.speculate.policy import FixedDepth
from outpace.speculate.speculator import SpeculatedDrafter


@dataclass
class Parts:
    """Seconds of one round, in all and inside programs."""

    round_s: float = 0.0
    verify_s: float = 0.0
    head_s: float = 0.0
    catch_up_s: float = 0.0

    @property
    def python_s(self) -> float:
        """What is not spent in programs: choosing tokens, keeping and showing them, preparing steps."""
        return self.round_s - self.verify_s - self.head_s - self.catch_up_s


class _Draft:
    """A draft program whose runs are timed."""

    def __init__(self, program: DraftExecutable, clock: Clock) -> None:
        self._program, self._clock, self._run_s = program, clock, 0.0
        self.n_vocab, self.limits, self.take_rows = program.n_vocab, program.limits, program.take_rows
        self.native = program.native

    @property
    def run_s(self) -> float:
        """Seconds that all runs have taken; those of a native program need not come by here."""
        return self._run_s if self.native is None else self.native[0].run_s

    def run(self, step: Step, head: int = 0) -> StepResult:
        began = perf_counter()
        result = self._program.run(step, head)
        self._run_s += perf_counter() - began
        return result

    def catch_up(self, step: Step) -> None:
        began = perf_counter()
        self._program.catch_up(step)
        self._clock.parts.catch_up_s += perf_counter() - began


class Clock:
    """An executable whose runs, and those of its draft program, are timed.

    Attributes:
        parts: Where the seconds go.
    """

    def __init__(self, executable: Executable) -> None:
        self._executable, self.parts = executable, Parts()
        self.n_vocab, self.limits = executable.n_vocab, executable.limits
        self.copy_page, self.copy_state = executable.copy_page, executable.copy_state
        self.draft = None if executable.draft is None else _Draft(executable.draft, self)

    def run(self, step: Step) -> StepResult:
        """Run a step of the trunk."""
        began = perf_counter()
        result = self._executable.run(step)
        self.parts.verify_s += perf_counter() - began
        return result


def positions(depths: Sequence[int], repeat: int) -> int:
    """Return how many positions the rounds of `Rounds.parts` can take."""
    # Each is run twice, all kept and nothing kept.
    return 2 * (repeat + WARM_UPS) * sum(n + 2 for n in depths) + max(depths) + 2


class Rounds:
    """One text that the engine writes, round by round, drafting as deep as it is told.

    A drafted token is kept or not as it is told too, so every kind of round can be timed again and again.
    """

    def __init__(self, subject: Subject, n_prompt: int, most: int) -> None:
        """Read a prompt.

        Args:
            subject: The model, with its head.
            n_prompt: Tokens of the prompt, random ones.
            most: Tokens that may follow.
        """
        self._clock = Clock(subject.executable)
        draft, n_vocab = self._clock.draft, self._clock.n_vocab
        assert draft is not None, "the subject has a head"
        self._draft = draft
        head = Head(draft, subject.model.config.d_model, draft.limits.max_rows, n_vocab)
        is_recurrent = bool(state_spec(subject.model.plan).recurrent)
        self._engine = Engine(self._clock, FixedDepth(0), 1, speculator=head, is_recurrent=is_recurrent)
        params = SamplingParams.greedy()
        request = Request(tuple(subject.tokens(n_prompt)), params, ignore_eos=True)
        drafter = SpeculatedDrafter(head.name, head.state(n_prompt))
        sampler = Sampler(params, n_vocab)
        self._sequence = ImposedSequence(_KEEP, request, sampler, drafter, Output(), n_prompt + most)
        self._engine.add(self._sequence)
        while not self._sequence.is_decoding:
            self._engine.step()

    def time(self, depth: int, *, is_kept: bool) -> Parts:
        """Return what a round takes that follows one of its own kind: with as much for the head to catch up with."""
        self._engine.policy = FixedDepth(depth)
        self._sequence.coins = _KEEP if is_kept else _DROP
        self._engine.step()
        parts = self._clock.parts = Parts()
        began, run_s = perf_counter(), self._draft.run_s
        (feed,) = self._engine.step()
        parts.round_s, parts.head_s = perf_counter() - began, self._draft.run_s - run_s
        # What the next round takes to get there is no part of this one.
        self._clock.parts = Parts()
        assert len(feed[2].tokens) == depth, "the text has room for the whole draft"
        return parts

    def numbers(self, depths: Sequence[int], repeat: int) -> dict[str, dict[str, Any]]:
        """Return medians for each depth, rounds of all kinds taking turns."""
        kinds = [(depth, is_kept) for depth in depths for is_kept in (True, False)]
        taken: dict[tuple[int, bool], list[Parts]] = {kind: [] for kind in kinds}
        for i in range(WARM_UPS + repeat):
            for depth, is_kept in kinds:
                parts = self.time(depth, is_kept=is_kept)
                if i >= WARM_UPS:
                    taken[depth, is_kept].append(parts)
        plain_s = statistics.median(each.round_s for each in taken[depths[0], True])
        return {str(n): _numbers(n, taken[n, True], taken[n, False], plain_s) for n in depths}


_KEEP, _DROP = Coins((), 1.0), Coins((), 0.0)


def _numbers(depth: int, kept: Sequence[Parts], dropped: Sequence[Parts], plain_s: float) -> dict[str, Any]:
    round_s = statistics.median(each.round_s for each in kept)
    ratio = round_s / plain_s
    return {
        "ms": _ms(round_s),
        "verify_ms": _ms(statistics.median(each.verify_s for each in kept)),
        "head_ms": _ms(statistics.median(each.head_s for each in kept)),
        "catch_up_ms": _ms(statistics.median(each.catch_up_s for each in kept)),
        "python_ms": _ms(statistics.median(each.python_s for each in kept)),
        "rejected_ms": _ms(statistics.median(each.round_s for each in dropped)),
        "of_plain": round(ratio, 3),
        "pays_from": round(chance_of(max(ratio, 1.0), depth), 3) if ratio <= depth + 1 else None,
    }


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 4)
