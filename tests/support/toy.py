"""A toy executable: logits are a hash of the last tokens as the paged cache holds them, so a wrong page shows."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from outpace.backends.backend import Limits
from outpace.graph.step import PAGE, Step, StepResult

EMPTY = -1


class ToyExecutable:
    """Writes each row's token and position into pages; logits of a row depend on its last `order` tokens.

    With a small `order` the text falls into repetition, so that copying is right at times.
    """

    draft = None

    def __init__(self, limits: Limits, n_vocab: int = 50, order: int = 3, seed: int = 1, sharp: float = 4.0):
        self.limits, self.n_vocab, self.order = limits, n_vocab, order
        self.tokens = np.full((limits.n_pages, PAGE), EMPTY, np.int64)
        self.positions = np.full((limits.n_pages, PAGE), EMPTY, np.int64)
        self.seed, self.sharp = seed, sharp
        self.steps: list[Step] = []
        self.logits = np.zeros((limits.max_wanted, n_vocab), np.float32)

    def run(self, step: Step) -> StepResult:
        self.steps.append(step)
        assert len(step.tokens) == sum(s.n_rows for s in step.segments) <= self.limits.max_rows
        assert len(step.wanted) <= self.limits.max_wanted
        assert list(step.wanted) == sorted(set(step.wanted))
        written: set[tuple[int, int]] = set()
        contexts: list[tuple[int, ...]] = []
        at = 0
        for segment in step.segments:
            assert segment.n_rows > 0
            for position in range(segment.start, segment.start + segment.n_rows):
                slot = (int(segment.pages[position // PAGE]), position % PAGE)
                assert slot not in written, "two rows write one slot"
                written.add(slot)
                self.tokens[slot], self.positions[slot] = step.tokens[at], position
                at += 1
        for segment in step.segments:
            for position in range(segment.start, segment.start + segment.n_rows):
                contexts.append(
                    tuple(self._read(segment, p) for p in range(max(0, position - self.order + 1), position + 1))
                )
                # The far past counts too: the first token, and one in the middle.
                contexts[-1] += (self._read(segment, 0) % 3, self._read(segment, position // 2) % 2)
        logits = self.logits[: len(step.wanted)]
        for i, row in enumerate(step.wanted):
            logits[i] = self.row(contexts[row])
        return StepResult(logits)

    def row(self, context: tuple[int, ...]) -> np.ndarray:
        return _row(self.seed, self.n_vocab, context) * np.float32(self.sharp)

    def copy_page(self, source: int, target: int) -> None:
        self.tokens[target], self.positions[target] = self.tokens[source], self.positions[source]

    def _read(self, segment, position: int) -> int:
        page, offset = int(segment.pages[position // PAGE]), position % PAGE
        assert self.positions[page, offset] == position, f"page {page} does not hold position {position}"
        return int(self.tokens[page, offset])


@lru_cache(maxsize=100_000)
def _row(seed: int, n_vocab: int, context: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng([seed, *(c + 1 for c in context)]).standard_normal(n_vocab).astype(np.float32)
