"""A speculator at work in the engine: when it guesses for whom, and what it is shown for that."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from outpace.engine.memory import Memory
from outpace.engine.runner import n_exported
from outpace.engine.sequence import Feed, Sequence
from outpace.errors import BackendError
from outpace.graph.step import PAGE, Hidden, StepResult
from outpace.speculate.policy import Policy
from outpace.speculate.speculator import MOST_ALONG, Ask, Speculator


class Proposer:
    """Runs a speculator for the sequences of a step together, and keeps what it knows of each in step with the trunk.

    State: the speculator's cache, the `head` of every sequence that has one, whether it has been given up, and
    `seconds`, what drafting has taken of this step.
    """

    def __init__(self, speculator: Speculator[Any], memory: Memory) -> None:
        self._speculator, self._memory = speculator, memory
        self.seconds = 0.0
        self._is_given_up = False
        # Of the feed that was shown last: the hidden state before each page border in it. Snapshots have their own.
        self._ends: dict[int, Hidden] = {}
        self._keeps_ends = memory.snapshots is None and speculator.has_pages

    def propose(self, feeds: list[Feed], policy: Policy, n_rows: int, room: int) -> bool:
        """Put the speculator's drafts into feeds where the policy expects more of them; return whether there are any.

        Args:
            feeds: Those of a step, with the drafts of others.
            policy: Decides who drafts how much.
            n_rows: Rows of the step without any draft.
            room: Most rows that may be added.
        """
        self.seconds = 0.0
        if self._is_given_up:
            # Nobody need show it anything any more.
            for feed in feeds:
                feed[0].head = None
            return False
        if policy.rests(n_rows):
            return False
        decoding = [i for i, feed in enumerate(feeds) if feed[0].is_decoding]
        if not decoding:
            return False
        served = feeds[decoding[0]][0]
        if policy.has_dropped_head:
            self._give_up("never guessed right", served)
            return False
        if self._speculator.news:
            served.notes += (self._speculator.news,)
            self._speculator.news = ""
        is_ready = [(state := feeds[i][0].head) is not None and state.is_ready(feeds[i][0].n_cached) for i in decoding]
        if not any(is_ready):
            return False
        depths = policy.ahead([feeds[i][2] for i in decoding], is_ready, n_rows, room)
        if not any(depths):
            return False
        asks: list[tuple[int, Ask[Any]]] = []
        for i, depth in zip(decoding, depths, strict=True):
            sequence = feeds[i][0]
            n = self._memory.fit(sequence, min(depth, sequence.most_tokens - len(sequence.tokens) - 1))
            if n > 0 and sequence.head is not None:
                tokens, pages, guess = sequence.tokens, sequence.pages, sequence.guesser()
                asks.append((i, Ask(sequence.head, tokens, pages, n, guess, sequence.chain)))
        if asks:
            try:
                found = self._speculator.draft([ask for _, ask in asks], policy.rule())
            except BackendError:
                # What is wrong with its weights is none of the text's.
                self._give_up("wrote what is no number", served)
                return False
            self.seconds = found.seconds
            policy.drafted(found.steps, found.read_s)
            for (i, _), draft in zip(asks, found.drafts, strict=True):
                feeds[i] = (*feeds[i][:2], draft, feeds[i][3])
                if not self._memory.is_headed(feeds[i][0]):
                    self._mark(feeds[i][0])
        return bool(asks)

    def show(self, feed: Feed, result: StepResult, at: int, n: int) -> int:
        """Show the speculator the first n rows of a feed; return how many rows its step exported of it.

        Args:
            feed: Whose `n_cached` is still that of before the step.
            result: The step's.
            at: Exported rows of the step before this feed's.
            n: Rows that stay.
        """
        sequence, known, draft, is_wanted = feed
        state, n_cached = sequence.head, sequence.n_cached
        if not self._speculator.reads_hidden:
            if state is not None:
                state.learn(n_cached, None)
                self._catch_up(sequence, len(known), n_cached + n)
            return 0
        n_rows = len(known) + len(draft.tokens)
        exported = n_exported(sequence, len(known), len(draft.tokens), is_wanted)
        self._ends.clear()
        if state is None or result.hidden is None:
            return exported
        # What is wanted may be exported before it is of use.
        skipped = max(n_rows - exported, state.hidden_from - n_cached)
        if skipped < n:
            begin, position, hidden = at + skipped - (n_rows - exported), n_cached + skipped, result.hidden
            if begin or len(hidden) > n - skipped:
                hidden = hidden[begin : begin + n - skipped]
            if self._keeps_ends:
                for border in range((position // PAGE + 1) * PAGE, n_cached + n + 1, PAGE):
                    self._ends[border] = hidden[border - 1 - position].copy()
            state.learn(position, hidden)
            self._catch_up(sequence, len(known), n_cached + n)
        return exported

    def reach(self, sequence: Sequence) -> Hidden | None:
        """Make what the speculator knows of a sequence good up to its last page border, for whoever goes on from there.

        Returns:
            The trunk's hidden state of the position before the border [D], where the speculator was shown it.
        """
        state, border = sequence.head, sequence.n_full * PAGE
        if state is None or not self._speculator.has_pages or not state.first <= border <= state.n_seen:
            return None
        end = self._speculator.catch_up(state, sequence.tokens, sequence.pages, border)
        self._memory.headed(sequence, state.first, end)
        return state.before(border)

    def leave(self, sequence: Sequence) -> None:
        """Leave what the speculator knows in the pages that a sequence has just filled, for whoever begins likewise.

        Its feed must be the one that was shown last.
        """
        sequence.n_kept = sequence.n_full * PAGE
        self._mark(sequence, self._ends)

    def resume(self, sequence: Sequence, hidden: Hidden | None) -> None:
        """Let the speculator go on where a sequence was given pages that another has filled.

        Args:
            sequence: Whose.
            hidden: The trunk's hidden state of the position before [D], where the speculator was shown it.
        """
        if sequence.head is None:
            return
        if self._speculator.reads_hidden:
            sequence.head.resume(self._memory.head_from(sequence), sequence.n_cached, hidden)
        else:
            # What it has not read yet it can read now.
            sequence.head.resume(0, self._memory.head_to(sequence), None)

    def _give_up(self, reason: str, served: Sequence) -> None:
        """Ask the speculator no more, and say so to whoever is served now."""
        self._is_given_up = True
        served.notes += (self._speculator.dropped.format(reason),)

    def _mark(self, sequence: Sequence, ends: Mapping[int, Hidden] = MappingProxyType({})) -> None:
        """Note in a sequence's full pages how far the speculator's rows go, where they may have gone further."""
        state, border = sequence.head, sequence.n_full * PAGE
        if state is not None and self._speculator.has_pages and state.first <= border <= state.n_seen:
            end = self._speculator.catch_up(state, sequence.tokens, sequence.pages, border)
            own = {at: hidden for at, hidden in ends.items() if at >= state.first}
            self._memory.headed(sequence, state.first, end, own)

    def _catch_up(self, sequence: Sequence, n_known: int, end: int) -> None:
        """Let the speculator take in the rows of a prompt."""
        if self._speculator.has_pages and n_known > MOST_ALONG:
            self._speculator.catch_up(sequence.head, sequence.tokens, sequence.pages, end)
