"""Whole answers timed plainly and with drafting, in turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from outpace import env
from outpace.backends.backend import Backend, Executable, Limits
from outpace.backends.cpu import CpuBackend
from outpace.cli.imposed import Coins, ImposedLLM
from outpace.cli.measure import interval
from outpace.engine.result import Result
from outpace.errors import ConfigError
from outpace.gguf.file import GGUFFile
from outpace.graph.plan import Plan
from outpace.speculate.policy import FixedDepth, Policy


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer that was timed.

    Attributes:
        result: The answer.
        wall_s: Seconds of its decode steps, the prompt's left out.
        native_s: Seconds of them inside native programs.
    """

    result: Result
    wall_s: float
    native_s: float

    @property
    def python_share(self) -> float:
        """Share of the decode steps' time outside native programs."""
        return 1.0 - self.native_s / self.wall_s if self.wall_s else 0.0


class KnownBackend:
    """A backend, with what it compiled.

    Attributes:
        executable: The one it compiled last.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name, self.memory = backend.name, backend.memory
        self.executable: Executable | None = None

    def compile(self, plan: Plan, file: GGUFFile, limits: Limits, draft: Plan | None = None) -> Executable:
        """Compile as the backend does."""
        self.executable = self._backend.compile(plan, file, limits, draft)
        return self.executable

    def native_s(self) -> float:
        """Return the seconds that the native programs of what was compiled have run, those of a head too."""
        draft = getattr(self.executable, "draft", None)
        programs = [getattr(self.executable, "program", None), *getattr(draft, "programs", ())]
        return float(sum(program.run_s for program in programs if program is not None))


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of decoding.

    Attributes:
        name: What it is called.
        drafter: Who drafts.
        policy: Decides how much; None for what pays.
    """

    name: str
    drafter: str
    policy: Policy | None = None


class Subjects:
    """A loaded model that answers in several ways, timed.

    Attributes:
        llm: The model.
    """

    def __init__(self, model: str, progress: Callable[[str, int, int], None], **options: Any) -> None:
        """Load a model; `options` are `draft_model` and those of `RunConfig`."""
        tier = env.read().tier
        made: list[KnownBackend] = []

        def backend(threads: int) -> KnownBackend:
            inner = CpuBackend(threads, tier, lambda done, total: progress("loading", done, total))
            made.append(KnownBackend(inner))
            return made[-1]

        self.llm = ImposedLLM(model, backend=backend, progress=progress, **options)
        self._automatic = self.llm.policy
        self._backend = next(each for each in reversed(made) if each.executable)

    def arms(self, drafter: str, depths: Sequence[int]) -> list[Arm]:
        """Return plain decoding, drafting as deep as pays, and to fixed depths.

        Raises:
            ConfigError: A fixed depth is 0, or deeper than the model was loaded for.
        """
        found = [Arm("none", "none")]
        if drafter == "none":
            return found
        most = self.llm.settings.limits.max_draft
        for depth in depths:
            if not 1 <= depth <= most:
                raise ConfigError("--fixed", depth, f"depths from 1 to {most}, what --spec-draft-n-max allows")
        return [*found, Arm(drafter, drafter), *(Arm(f"{drafter} {n}", drafter, FixedDepth(n)) for n in depths)]

    def imposed(self, coins: Coins | None) -> None:
        """From now on let coins say what is kept of drafts; None for the truth."""
        self.llm.coins = coins

    def answer(self, arm: Arm, **request: Any) -> Sample:
        """Return one timed answer; `request` are the options of `LLM.stream`."""
        self.llm.policy = arm.policy or self._automatic
        wall_s = native_s = 0.0
        stream = self.llm.stream(drafter=arm.drafter, **request)
        began, native_began = perf_counter(), self._backend.native_s()
        is_first = True
        for _ in stream:
            if is_first:
                # The prompt's steps end with the first token.
                began, native_began, is_first = perf_counter(), self._backend.native_s(), False
        wall_s, native_s = perf_counter() - began, self._backend.native_s() - native_began
        return Sample(stream.result, wall_s, native_s)

    def interleaved(self, arms: Sequence[Arm], repeat: int, **request: Any) -> dict[str, list[Sample]]:
        """Return the samples of each arm, a warm-up answer of each left out."""
        for arm in arms:
            self.answer(arm, **request)
        samples: dict[str, list[Sample]] = {arm.name: [] for arm in arms}
        for _ in range(repeat):
            for arm in arms:
                samples[arm.name].append(self.answer(arm, **request))
        return samples


def numbers(taken: Sequence[Sample], plain: Sequence[Sample]) -> dict[str, Any]:
    """Return what there is to say about the samples of one arm, compared round by round with plain decoding."""
    last = taken[-1].result
    ratios = [
        a.result.timings.predicted_per_s / b.result.timings.predicted_per_s for a, b in zip(taken, plain, strict=True)
    ]
    return {
        "predicted_n": last.timings.predicted_n,
        "predicted_per_s": round(statistics.median(each.result.timings.predicted_per_s for each in taken), 2),
        "of_plain": interval(ratios),
        "prompt_n": last.timings.prompt_n,
        "tokens_per_round": round(last.speculation.tokens_per_round, 3),
        "drafted": last.speculation.drafted,
        "accepted": last.speculation.accepted,
        "accepted_by_position": [round(share, 4) for share in last.speculation.accepted_by_position],
        "python_share": round(statistics.median(each.python_share for each in taken), 4),
    }
