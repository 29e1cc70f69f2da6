"""The engine: sequences in, one step at a time, tokens out."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any

from outpace.engine.memory import Memory
from outpace.engine.proposer import Proposer
from outpace.engine.runner import Runner
from outpace.engine.scheduler import Scheduler, Turn
from outpace.engine.sequence import PLAIN, Feed, FinishReason, Sequence
from outpace.engine.snapshots import Snapshots
from outpace.graph.step import PAGE
from outpace.speculate.drafter import NOTHING, Draft, draft_of
from outpace.speculate.policy import Policy
from outpace.speculate.speculator import Speculator

if TYPE_CHECKING:
    from outpace.backends.backend import Executable


class Engine:
    """Runs sequences together until each of them ends.

    Which sequences share a step, how prompts are cut, what is drafted and how much of it is verified changes no
    token: a row's logits depend on its own sequence alone, and a choice on its row, position and history alone.

    State: the scheduler's queues, the memory's pages, the policy's record. One thread at a time.
    """

    def __init__(
        self,
        executable: Executable,
        policy: Policy,
        max_running: int,
        max_rows: int | None = None,
        *,
        speculator: Speculator[Any] | None = None,
        is_recurrent: bool = False,
    ) -> None:
        """Take what runs the trunk, who decides on drafts, and the speculator, if one drafts.

        Args:
            executable: The trunk; has a slot for each of `max_running` sequences. In those beyond, recurrent states are
                kept for sequences that begin like earlier ones.
            policy: Decides how much is drafted and verified.
            max_running: Most sequences in a step.
            max_rows: Most rows in a step, if fewer than the executable takes.
            speculator: Drafts for sequences that have a state of it.
            is_recurrent: Whether sequences carry recurrent states.
        """
        limits = executable.limits
        assert max_running <= limits.max_wanted, "every sequence may want a row"
        self.max_rows = min(limits.max_rows, max_rows or limits.max_rows)
        self.max_wanted = limits.max_wanted
        spare_slots = range(max_running, limits.n_slots)
        self.snapshots = Snapshots(spare_slots, executable.copy_state) if is_recurrent else None
        keeps_heads = speculator is not None and speculator.has_pages
        self.memory = Memory(limits.n_pages, self.snapshots, keeps_heads=keeps_heads)
        self.scheduler = Scheduler(self.memory, self.max_rows, max_running, self._resume)
        self.runner = Runner(executable, exports=speculator is not None and speculator.reads_hidden)
        self.policy = policy
        self.proposer = None if speculator is None else Proposer(speculator, self.memory)

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
        turns = self.scheduler.next()
        # Where nobody has a head, the proposer's memory stays cold: a small model would feel it.
        proposer = self.proposer
        if proposer is not None and all(turn[0].head is None for turn in turns):
            proposer = None
        feeds = self._propose(turns, proposer)
        if not feeds:
            return feeds
        result = self.runner.forward(feeds)
        now = perf_counter()
        first = row = shown = n_kept = 0
        for feed in feeds:
            sequence, known, draft, is_wanted = feed
            guesses = draft.tokens
            kept = sequence.accept(guesses, result, row) if is_wanted else None
            n_kept += kept[0] if kept else 0
            n = self._write(feed, kept, now)
            if proposer is not None:
                shown += proposer.show(feed, result, shown, n)
            sequence.n_pending = n - len(known)
            self.memory.commit(sequence, n)
            if self.snapshots is not None:
                if self.snapshots.is_due(sequence):
                    self._keep(self.snapshots, sequence)
            elif proposer is not None and sequence.n_full * PAGE > sequence.n_kept:
                proposer.leave(sequence)
            self._observe(sequence)
            if not sequence.started_s:
                sequence.started_s = began
            if sequence.finish_reason is not None:
                self.scheduler.remove(sequence)
            first += len(known) + len(guesses)
            row += is_wanted + len(guesses)
        if row == first:
            # Every row was wanted, as when the widths were measured: decoding and verifying, no prompt. What follows
            # the step is of the round too: on a small model it is a good part of it, and more of a drafted one.
            drafting_s = 0.0 if proposer is None else proposer.seconds
            self.policy.timed(row, row - len(feeds), n_kept, perf_counter() - began - drafting_s)
        return feeds

    def _propose(self, turns: list[Turn], proposer: Proposer | None) -> list[Feed]:
        """Ask the drafters of those who decode, and take of their drafts what the policy finds worth its time."""
        n_rows = n_wanted = 0
        for _, n_known, is_last in turns:
            n_rows += n_known
            n_wanted += is_last
        room = self.max_rows - n_rows
        if room > self.max_wanted - n_wanted:
            room = self.max_wanted - n_wanted
        feeds: list[Feed] = []
        has_drafts = False
        for sequence, n_known, is_last in turns:
            n_cached, tokens, draft = sequence.n_cached, sequence.tokens, NOTHING
            known = [tokens[n_cached]] if n_known == 1 else tokens[n_cached : n_cached + n_known]
            if n_cached + 1 == len(tokens) > sequence.n_prompt:
                # The last round writes one token more than it drafts.
                most = sequence.most_tokens - len(tokens) - 1
                most = room if most > room else most
                draft = sequence.drafter.propose(tokens, most if most < self.policy.n_max else self.policy.n_max)
                has_drafts = has_drafts or draft is not NOTHING
            feeds.append((sequence, known, draft, is_last))
        if proposer is not None:
            has_drafts = proposer.propose(feeds, self.policy, n_rows, room) or has_drafts
        return self._cut(feeds, n_rows, room) if has_drafts else feeds

    def _cut(self, feeds: list[Feed], n_rows: int, room: int) -> list[Feed]:
        """Return the feeds with as much of each draft as is worth its time, and as there is memory for."""
        depths = self.policy.choose([draft for each, _, draft, _ in feeds if each.is_decoding], n_rows, room)
        found: list[Feed] = []
        i = 0
        for feed in feeds:
            sequence, known, draft, is_wanted = feed
            if sequence.is_decoding:
                feed = sequence, known, self._fitting(sequence, draft, depths[i]), is_wanted
                i += 1
            found.append(feed)
        return found

    def _fitting(self, sequence: Sequence, draft: Draft, n: int) -> Draft:
        """Return the first n guesses, or as many as there is memory for without taking anyone's."""
        n = self.memory.fit(sequence, n)
        if n == len(draft.tokens):
            return draft
        if n > 0:
            return draft_of((draft.tokens[:n], draft.confidence[:n], draft.source))
        if draft.source:
            # What is not worth a row can be learned from all the same: the token that comes tells.
            sequence.unchecked = draft_of((draft.tokens[:1], draft.confidence[:1], draft.source))
        return NOTHING

    def _write(self, feed: Feed, kept: tuple[int, int] | None, now: float) -> int:
        """Append the tokens that were chosen, up to the one that ends the text; return how many rows stay."""
        sequence, known, draft, _ = feed
        n = len(known)
        if kept is None:
            return n
        tokens, sources, push = sequence.tokens, sequence.sources, sequence.output.push
        n_kept, token = kept
        n_drafted = len(draft.tokens)
        if sequence.first_s:
            if n_drafted:
                sequence.record.add(n_drafted, n_kept)
                self.policy.observe(draft, n_drafted, n_kept)
            else:
                sequence.record.rounds += 1
                if sequence.unchecked is not NOTHING:
                    self.policy.observe(sequence.unchecked, 1, int(token == sequence.unchecked.tokens[0]))
                    sequence.unchecked = NOTHING
        else:
            sequence.first_s = now
        if n_kept:
            for guess in draft.tokens[:n_kept]:
                n += 1
                tokens.append(guess)
                sources.append(draft.source or sequence.drafter.name)
                if push(guess):
                    self._end(sequence, "stop", now)
                    return n
        tokens.append(token)
        sources.append(PLAIN)
        if push(token):
            self._end(sequence, "stop", now)
        elif len(tokens) >= sequence.most_tokens:
            self._end(sequence, "length", now)
        return n

    def _keep(self, snapshots: Snapshots, sequence: Sequence) -> None:
        """Keep the state of a sequence at its last page border, and what the head knows there."""
        snapshots.keep(sequence, None if self.proposer is None else self.proposer.reach(sequence))

    def _resume(self, sequence: Sequence) -> None:
        """Let a sequence that was given pages go on from the state at their end, and its head too."""
        hidden = self.memory.end_of(sequence) if self.snapshots is None else self.snapshots.resume(sequence)
        if self.proposer is not None:
            self.proposer.resume(sequence, hidden)

    def _observe(self, sequence: Sequence) -> None:
        """Show the drafter what was committed, each token once (a recomputed one is no news)."""
        fresh = sequence.tokens[sequence.n_observed : sequence.n_cached]
        if fresh:
            sequence.n_observed = sequence.n_cached
            sequence.drafter.observe(fresh)

    def _end(self, sequence: Sequence, reason: FinishReason, now: float) -> None:
        sequence.finish_reason, sequence.ended_s = reason, now
        sequence.output.flush()
