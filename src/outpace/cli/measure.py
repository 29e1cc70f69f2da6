"""Steps timed on a model of random tokens, and whole answers timed with and without drafting."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from outpace import env
from outpace.backends.backend import Limits
from outpace.backends.cpu import CpuBackend
from outpace.backends.cpu.executable import CpuExecutable
from outpace.backends.cpu.weights import packed_bytes
from outpace.cli.machine import threads_of
from outpace.engine.memory import pages_for
from outpace.gguf.file import GGUFFile, open_gguf
from outpace.graph.plan import Plan
from outpace.graph.step import Segment, Step
from outpace.models import load_plan

if TYPE_CHECKING:
    from outpace.engine.result import Result
    from outpace.llm import LLM

WARM_UPS = 3


class Subject:
    """A compiled model without an engine: one sequence whose steps are timed.

    Attributes:
        threads: Threads that compute.
        tier: Kernel tier.
        step_bytes: Bytes of packed weights that one step reads.
    """

    def __init__(
        self,
        path: Path,
        *,
        positions: int,
        max_rows: int,
        max_wanted: int,
        threads: int | None = None,
        kv_type: str = "f16",
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Load a model.

        Args:
            path: Its file.
            positions: Positions that the cache holds.
            max_rows: Most rows of a step.
            max_wanted: Most rows of logits of a step.
            threads: Threads that compute; None for what a run takes.
            kv_type: How keys and values are kept.
            progress: Called with bytes packed and bytes in all.
        """
        self._file = open_gguf(path)
        found = load_plan(self._file)
        self.threads, _ = threads_of(threads)
        backend = CpuBackend(self.threads, env.read().tier, progress)
        self.tier = backend.tier
        limits = Limits(max_rows, max_wanted, pages_for(positions), kv_type)
        self._executable = backend.compile(found.plan, self._file, limits)
        self._pages = np.arange(limits.n_pages, dtype=np.int32)
        self._random = random.Random(0)
        self.step_bytes = _step_bytes(found.plan, self.tier)

    def time(self, n_rows: int, depth: int = 0, wanted: Sequence[int] | None = None) -> float:
        """Return the seconds of one step of random tokens.

        Args:
            n_rows: Rows of the step.
            depth: Positions in the cache before them.
            wanted: Rows whose logits are wanted; None for all.
        """
        n_vocab = self._executable.n_vocab
        tokens = [self._random.randrange(n_vocab) for _ in range(n_rows)]
        step = Step(tokens, [Segment(depth, n_rows, self._pages)], range(n_rows) if wanted is None else wanted)
        began = perf_counter()
        self._executable.run(step)
        return perf_counter() - began

    def close(self) -> None:
        """Let go of the file and of the model's memory."""
        self._file.close()
        del self._executable

    def __enter__(self) -> Subject:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _step_bytes(plan: Plan, tier: str) -> int:
    """Return the bytes of packed matrices that every step reads; an embedding table is only looked into."""
    refs = {node.weights[0].name: node.weights[0] for node in plan.nodes if node.verb.startswith("linear")}
    return sum(packed_bytes(ref, tier) for ref in refs.values())


def interleaved(timers: Sequence[Callable[[], float]], repeat: int) -> list[list[float]]:
    """Call each in turn, again and again, so that what disturbs the machine disturbs all alike.

    Returns:
        What each returned, in order, warm-up rounds left out.
    """
    for _ in range(WARM_UPS):
        for timer in timers:
            timer()
    taken: list[list[float]] = [[] for _ in timers]
    for _ in range(repeat):
        for i, timer in enumerate(timers):
            taken[i].append(timer())
    return taken


def spread(values: Sequence[float]) -> float:
    """Return half the distance between the quartiles, as a share of the median."""
    if len(values) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4)
    return (high - low) / 2 / middle


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer that was timed.

    Attributes:
        result: The answer.
        wall_s: Seconds of its decode steps, the prompt's left out.
        native_s: Seconds of them inside the native program.
    """

    result: Result
    wall_s: float
    native_s: float

    @property
    def python_share(self) -> float:
        """Share of the decode steps' time outside the native program."""
        return 1.0 - self.native_s / self.wall_s if self.wall_s else 0.0


class KnownBackend:
    """The CPU's backend, with what it compiled.

    Attributes:
        executable: The one it compiled last.
    """

    name = "cpu"

    def __init__(self, backend: CpuBackend) -> None:
        self._backend = backend
        self.memory = backend.memory
        self.executable: CpuExecutable | None = None

    def compile(self, plan: Plan, file: GGUFFile, limits: Limits, draft: Plan | None = None) -> CpuExecutable:
        """Compile as the CPU's backend does."""
        self.executable = self._backend.compile(plan, file, limits, draft)
        return self.executable


class Subjects:
    """A loaded model that answers with one drafter and with another, timed.

    Attributes:
        llm: The model.
    """

    def __init__(self, model: str, progress: Callable[[str, int, int], None], **options: Any) -> None:
        """Load a model; `options` are `draft_model` and those of `RunConfig`."""
        from outpace.llm import LLM

        tier = env.read().tier
        made: list[KnownBackend] = []

        def backend(threads: int) -> KnownBackend:
            inner = CpuBackend(threads, tier, lambda done, total: progress("loading", done, total))
            made.append(KnownBackend(inner))
            return made[-1]

        self.llm: LLM = LLM(model, backend=backend, progress=progress, **options)
        self._program = next(each.executable.program for each in reversed(made) if each.executable)

    def answer(self, drafter: str | None, **request: Any) -> Sample:
        """Return one timed answer.

        Args:
            drafter: Who drafts; None for whom the model was loaded with.
            request: Options of `LLM.stream`.
        """
        wall_s = native_s = 0.0
        stream = self.llm.stream(drafter=drafter, **request)
        began, native_began = perf_counter(), self._program.run_s
        is_first = True
        for _ in stream:
            if is_first:
                # The prompt's steps end with the first token.
                began, native_began, is_first = perf_counter(), self._program.run_s, False
        wall_s, native_s = perf_counter() - began, self._program.run_s - native_began
        return Sample(stream.result, wall_s, native_s)
