"""Steps timed on a model of random tokens."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from types import TracebackType

import numpy as np

from outpace import env
from outpace.backends.backend import Limits
from outpace.backends.cpu import CpuBackend
from outpace.backends.cpu.weights import packed_bytes
from outpace.cli.machine import threads_of
from outpace.engine.memory import pages_for
from outpace.gguf.file import open_gguf
from outpace.graph.plan import Plan
from outpace.graph.step import Segment, Step
from outpace.models import load_plan

WARM_UPS = 3

# An interval leaves the truth out this often at most.
RISK = 0.1


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


def interval(values: Sequence[float]) -> dict[str, float]:
    """Return the median of one or more values, and the ends between which the true one is nine times in ten.

    By the sign test: `n` values lie on one side of the true median as coins fall. Of few values it is the extremes.
    """
    found = sorted(values)
    n, k, outside = len(found), 0, 2 * 0.5 ** len(found)
    while 2 * (k + 2) <= n and outside + 2 * math.comb(n, k + 1) * 0.5**n <= RISK:
        k += 1
        outside += 2 * math.comb(n, k) * 0.5**n
    ends = {"median": statistics.median(found), "low": found[k], "high": found[n - 1 - k]}
    return {name: float(f"{value:.4g}") for name, value in ends.items()}
