"""The engine: sequences in, one step at a time, tokens out."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from outpace.engine.memory import Memory
from outpace.engine.runner import Runner
from outpace.engine.scheduler import Scheduler, Turn
from outpace.engine.sequence import PLAIN, Feed, FinishReason, Sequence
from outpace.graph.step import PAGE
from outpace.speculate.accept import Kept, accept
from outpace.speculate.drafter import NOTHING, Draft
from outpace.speculate.policy import Policy

if TYPE_CHECKING:
    from outpace.backends.backend import Executable


class Engine:
    """Runs sequences together until each of them ends.

    Which sequences share a step, how prompts are cut, what is drafted and how much of it is verified changes no
    token: a row's logits depend on its own sequence alone, and a choice on its row, position and history alone.

    State: the scheduler's queues, the memory's pages, the policy's record. One thread at a time.
    """

    def __init__(self, executable: Executable, policy: Policy, max_running: int, max_rows: int | None = None) -> None:
        limits = executable.limits
        assert max_running <= limits.max_wanted, "every sequence may want a row"
        self.max_rows = min(limits.max_rows, max_rows or limits.max_rows)
        self.max_wanted = limits.max_wanted
        self.memory = Memory(limits.n_pages)
        self.scheduler = Scheduler(self.memory, self.max_rows, max_running)
        self.runner = Runner(executable)
        self.policy = policy

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything."""
        return bool(self.scheduler.running or self.scheduler.waiting)

    def add(self, sequence: Sequence) -> None:
        """Take in a sequence."""
        self.scheduler.add(sequence)

    def cancel(self, sequence: Sequence) -> None:
        """End a sequence before its next step; one that has ended stays as it ended."""
        if sequence.finish_reason is None:
            self._end(sequence, "cancelled", perf_counter())
            self.scheduler.remove(sequence)

    def step(self) -> list[Feed]:
        """Run one step over whoever has a turn; return what they put into it."""
        began = perf_counter()
        feeds = self._propose(self.scheduler.next())
        if not feeds:
            return feeds
        result = self.runner.forward(feeds)
        now = perf_counter()
        first = row = 0
        for feed in feeds:
            sequence, known, draft, is_wanted = feed
            kept = accept(draft.tokens, sequence.chooser(draft.tokens, result.logits, row)) if is_wanted else None
            n = self._write(feed, kept, now)
            self.memory.commit(sequence, n)
            self._observe(sequence, None if result.hidden is None else result.hidden[first : first + n])
            if not sequence.started_s:
                sequence.started_s = began
            if sequence.finish_reason is not None:
                self.scheduler.remove(sequence)
            first += len(known) + len(draft.tokens)
            row += is_wanted + len(draft.tokens)
        if row == first:
            # Every row was wanted, as when the widths were measured: decoding and verifying, no prompt.
            self.policy.timed(row, row - len(feeds), now - began)
        return feeds

    def _propose(self, turns: list[Turn]) -> list[Feed]:
        """Ask the drafters of those who decode, and take of their drafts what the policy finds worth its time."""
        n_rows = n_wanted = 0
        for turn in turns:
            n_rows += turn.n_known
            n_wanted += turn.is_last
        room = min(self.max_rows - n_rows, self.max_wanted - n_wanted)
        feeds: list[Feed] = []
        drafts: list[Draft] = []
        drafted: list[int] = []
        has_drafts = False
        for i, (sequence, n_known, is_last) in enumerate(turns):
            n_cached, tokens = sequence.n_cached, sequence.tokens
            if is_last and n_known == 1 and len(tokens) > sequence.n_prompt:
                # The last round writes one token more than it drafts.
                most = min(self.policy.n_max, room, sequence.most_tokens - len(tokens) - 1)
                draft = sequence.drafter.propose(tokens, most)
                drafts.append(draft)
                drafted.append(i)
                has_drafts = has_drafts or bool(draft.tokens)
            feeds.append(Feed(sequence, tokens[n_cached : n_cached + n_known], NOTHING, is_last))
        if has_drafts:
            for i, draft, n in zip(drafted, drafts, self.policy.choose(drafts, n_rows, room), strict=True):
                feeds[i] = feeds[i]._replace(draft=self._fitting(feeds[i].sequence, draft, n))
        return feeds

    def _fitting(self, sequence: Sequence, draft: Draft, n: int) -> Draft:
        """Return the first n guesses, or as many as there is memory for without taking anyone's."""
        length = len(sequence.tokens)
        n = min(n, (sequence.n_pages + self.memory.n_available) * PAGE - length)
        if n < 1:
            return NOTHING
        self.memory.grow(sequence, length + n)
        return Draft(draft.tokens[:n], draft.confidence[:n])

    def _write(self, feed: Feed, kept: Kept | None, now: float) -> int:
        """Append the tokens that were chosen, up to the one that ends the text; return how many rows stay."""
        sequence, known, draft, _ = feed
        n = len(known)
        if kept is None:
            return n
        tokens, output = sequence.tokens, sequence.output
        if sequence.first_s:
            sequence.record.add(len(draft.tokens), kept.n)
            if draft.tokens:
                self.policy.observe(draft, len(draft.tokens), kept.n)
        else:
            sequence.first_s = now
        for guess in draft.tokens[: kept.n]:
            n += 1
            tokens.append(guess)
            sequence.sources.append(sequence.drafter.name)
            if output.push(guess):
                self._end(sequence, "stop", now)
                return n
        tokens.append(kept.next_token)
        sequence.sources.append(PLAIN)
        if output.push(kept.next_token):
            self._end(sequence, "stop", now)
        elif len(tokens) >= sequence.most_tokens:
            self._end(sequence, "length", now)
        return n

    def _observe(self, sequence: Sequence, hidden: NDArray[np.float32] | None) -> None:
        """Show the drafter what was committed, each token once (a recomputed one is no news)."""
        fresh = sequence.tokens[sequence.n_observed : sequence.n_cached]
        if fresh:
            sequence.n_observed = sequence.n_cached
            sequence.drafter.observe(fresh, None if hidden is None else hidden[-len(fresh) :])

    def _end(self, sequence: Sequence, reason: FinishReason, now: float) -> None:
        sequence.finish_reason, sequence.ended_s = reason, now
        sequence.output.flush()
