"""Steps timed on a model of random tokens."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from types import TracebackType

import numpy as np

from outpace import env
from outpace.backends.backend import Executable, Limits
from outpace.backends.cpu import CpuBackend
from outpace.backends.cpu.weights import packed_bytes
from outpace.cli.machine import threads_of
from outpace.engine.drafters import drafting
from outpace.engine.memory import pages_for
from outpace.gguf.join import open_with_head
from outpace.graph.cost import state_spec
from outpace.graph.plan import Plan
from outpace.graph.step import Segment, Step
from outpace.models import load_plan
from outpace.spread import Spread

WARM_UPS = 3


class Subject:
    """A compiled model without an engine: one sequence whose steps are timed.

    Attributes:
        model: What was loaded.
        executable: What it was compiled to, its head's program too where it has one.
        threads: Threads that compute.
        tier: Kernel tier.
        step_bytes: Bytes of packed weights that one step reads.

    State: the executable's pages; its recurrent state in slot 0 is at `_at`, in slot 1 at `_kept`.
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
        max_draft: int = 0,
        head: Path | None = None,
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
            max_draft: Most tokens that a round drafts; 0 to load no head.
            head: A file with the head, where that is apart.
            progress: Called with bytes packed and bytes in all.
        """
        self._file = open_with_head(path, head)
        self.model = found = load_plan(self._file)
        self.threads, _ = threads_of(threads)
        backend = CpuBackend(self.threads, env.read().tier, progress)
        self.tier = backend.tier
        self._is_recurrent = bool(state_spec(found.plan).recurrent)
        staged = max(max_draft, max_wanted - 1) if self._is_recurrent else 0
        limits = Limits(max_rows, max_wanted, pages_for(positions), kv_type, n_slots=2, max_draft=staged)
        draft = drafting(found.draft) if max_draft and found.draft else None
        self.executable: Executable = backend.compile(found.plan, self._file, limits, draft)
        self._at = self._kept = 0
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
        self._reach(depth)
        # As when a draft is verified: all rows but the first are guesses, which a recurrent state does not take in.
        n_draft = n_rows - 1 if wanted is None and self._is_recurrent else 0
        segment = Segment(depth, n_rows, self._pages, n_draft=n_draft)
        step = Step(self.tokens(n_rows), [segment], range(n_rows) if wanted is None else wanted)
        began = perf_counter()
        self.executable.run(step)
        took = perf_counter() - began
        self._at = depth + n_rows - n_draft
        return took

    def tokens(self, n: int) -> list[int]:
        """Return random tokens."""
        return [self._random.randrange(self.executable.n_vocab) for _ in range(n)]

    def _reach(self, position: int) -> None:
        """Bring the recurrent state to a position, if there is one and it is elsewhere."""
        if not self._is_recurrent or position in (0, self._at):
            return
        if self._kept != position:
            most = self.executable.limits.max_rows
            for start in range(0, position, most):
                n = min(most, position - start)
                self.executable.run(Step(self.tokens(n), [Segment(start, n, self._pages)], ()))
            self.executable.copy_state(0, 1)
            self._kept = position
        else:
            self.executable.copy_state(1, 0)
        self._at = position

    def close(self) -> None:
        """Let go of the file and of the model's memory."""
        self._file.close()
        del self.executable

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
    """Return the median of one or more values, and the ends between which the true one is nine times in ten."""
    found = Spread.of(values)
    return {name: float(f"{getattr(found, name):.4g}") for name in ("median", "low", "high")}
