"""Who runs in the next step with how many tokens: integers only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from outpace.engine.memory import Memory, pages_for
from outpace.engine.sequence import Sequence
from outpace.graph.step import PAGE

# A sequence's part in the next step: who, how many of its uncommitted tokens, and whether those are all of them, so
# that a token will be chosen. A bare tuple: a step leaves the caches cold, and a class costs more there than the work.
Turn: TypeAlias = tuple[Sequence, int, bool]


class Scheduler:
    """First come, first served; decoding goes before prompts, and prompts fill up the step in chunks.

    A sequence runs when there is memory for its tokens and a page more for everyone who runs. Where memory runs out
    all the same, the sequence that came last gives up its pages, waits at the head of the line and is recomputed.

    State: `waiting` and `running`, both in order of arrival.
    """

    def __init__(
        self, memory: Memory, max_rows: int, max_running: int, resume: Callable[[Sequence], object] | None = None
    ) -> None:
        """Begin with nobody.

        Args:
            memory: Whose pages are given out.
            max_rows: Most rows in a step.
            max_running: Most sequences that run.
            resume: Told of each sequence that was given pages which another has filled, once it has a slot.
        """
        self.memory = memory
        self._resume = resume or (lambda _: None)
        self.max_rows, self.max_running = max_rows, max_running
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []
        self.n_preempted = 0
        self._slots = list(range(max_running))

    def add(self, sequence: Sequence) -> None:
        """Put a new sequence at the end of the line."""
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out and its pages back, wherever it is."""
        if sequence in self.running:
            self.running.remove(sequence)
            self._slots.append(sequence.slot)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
        self.memory.drop(sequence)

    def next(self) -> list[Turn]:
        """Return the turns of the next step; none if nobody is there. Their pages are theirs already."""
        if self.waiting:
            self._admit()
        n_preempted = self.n_preempted
        turns: list[Turn] = []
        prompts: list[Sequence] = []
        room = self.max_rows
        # Who gives way goes from the end of the list, so those before still come up.
        for sequence in self.running:
            if len(sequence.tokens) - sequence.n_cached > 1:
                prompts.append(sequence)
            elif room and (sequence.n_cached < sequence.n_pages * PAGE or self._reserve(sequence, 1)):
                turns.append((sequence, 1, True))
                room -= 1
        for sequence in prompts:
            if not room:
                break
            if sequence not in self.running:
                continue
            # Since it was admitted another sequence may have computed what it needs next.
            if self.memory.share(sequence):
                self._resume(sequence)
            n_left = len(sequence.tokens) - sequence.n_cached
            n = min(n_left, room)
            if self.memory.snapshots is not None:
                n = self.memory.snapshots.cut(sequence, n)
            if self._reserve(sequence, n):
                turns.append((sequence, n, n == n_left))
                room -= n
        if self.n_preempted != n_preempted:
            # Who had a turn already may have had to give way to an earlier one since.
            turns = [turn for turn in turns if turn[0] in self.running]
        return turns

    def _reserve(self, sequence: Sequence, n_rows: int) -> bool:
        """Get the pages for a sequence's next rows, from those who came later if need be; False if it gave way."""
        if sequence.n_pages == 0 and sequence not in self.running:
            return False
        while not self.memory.grow(sequence, sequence.n_cached + n_rows):
            last = self.running.pop()
            self._slots.append(last.slot)
            self.memory.drop(last)
            self.waiting.appendleft(last)
            self.n_preempted += 1
            if last is sequence:
                return False
        return True

    def _admit(self) -> None:
        """Let those in who are first in line and fit."""
        while self.waiting and len(self.running) < self.max_running:
            sequence = self.waiting[0]
            has_shared = self.memory.share(sequence)
            needed = pages_for(len(sequence.tokens)) - sequence.n_pages
            promised = sum(pages_for(len(each.tokens)) - each.n_pages for each in self.running) + len(self.running)
            if self.running and needed + promised > self.memory.n_available:
                sequence.n_shared -= sequence.n_cached
                self.memory.drop(sequence)
                return
            sequence.slot = self._slots.pop()
            self.running.append(self.waiting.popleft())
            if has_shared:
                self._resume(sequence)
