"""The model's own multi-token-prediction head as a drafter: one head, fed the truth first and then its own guesses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from time import perf_counter
from typing import Protocol

import numpy as np

from outpace.graph.step import CHUNK, Hidden, NativeDraft, PageTable, Segment, Step, StepResult
from outpace.sampling.sampler import Chain
from outpace.speculate.drafter import NOTHING, draft_of
from outpace.speculate.guesses import Guesses
from outpace.speculate.rule import Rule
from outpace.speculate.speculator import Ask, Drafted, late
from outpace.speculate.vocabulary import DraftVocabulary

# Of a long prompt the head reads only the end, from a multiple of CHUNK on: this share of it, but so many rows at least
# and at most. What it adds to the trunk's hidden state is near, and a prefill then need not compute the last layer of
# every row (docs/decisions/0009).
WINDOW_SHARE, LEAST_WINDOW, MOST_WINDOW = 1 / 8, 256, 2048


class Program(Protocol):
    """A draft program ready to run; the trunk's page tables are its own too.

    Attributes:
        native: See `backend.DraftExecutable`.
    """

    native: NativeDraft | None

    def run(self, step: Step) -> StepResult:
        """Run rows of (token, hidden state before it): stage their keys and values, return logits and hidden states."""

    def catch_up(self, step: Step) -> None:
        """Stage keys and values alone."""

    def take_rows(self, at: int, tokens: Sequence[int]) -> None:
        """Let the rows of the vocabulary projection from `at` on stand for these tokens."""


class HeadState:
    """What the head knows of one sequence, and what it has yet to be shown.

    Row p of the head takes token p and the trunk's hidden state of position p - 1: zeros at position 0, and at the
    first row that the head reads after a text of which nobody kept any.

    Attributes:
        first: Position from which the head attends, a page border.
        n_true: Its cache holds rows `first` to n_true - 1, all from the trunk's hidden states.
    """

    __slots__ = ("_n_held", "_n_prompt", "_pieces", "_width", "first", "n_true")

    def __init__(self, n_prompt: int, width: int) -> None:
        self._n_prompt, self._width = n_prompt, width
        # The hidden states of positions n_true - 1 on, in order. They are joined when they are needed: while nothing
        # is drafted a round adds one, and shall not copy those before it.
        self._pieces: list[Hidden]
        self._n_held: int
        self._restart()

    @property
    def hidden_from(self) -> int:
        """Position of the first hidden state that is of use."""
        return max(self.first - 1, 0)

    @property
    def n_seen(self) -> int:
        """Positions whose hidden states were shown, from the front on."""
        return self.n_true - 1 + self._n_held

    def learn(self, position: int, hidden: Hidden | None) -> None:
        """Take in the trunk's hidden states of positions `position` on [n, D].

        A sequence that is computed anew from the front (its memory was needed) starts over.
        """
        assert hidden is not None, "a head reads hidden states"
        if position != self.n_seen:
            self._restart()
            assert position == self.n_seen, "a sequence goes on where it was, where it resumed, or from the front"
        self._pieces.append(hidden.copy())
        self._n_held += len(hidden)

    def resume(self, first: int, position: int, hidden: Hidden | None) -> None:
        """Begin anew at `position`, the text before which was computed elsewhere.

        Args:
            first: From here on the cache holds rows of the text up to `position`.
            position: Of the next row.
            hidden: The trunk's hidden state of the position before [D]; None if it is not known.
        """
        self._restart()
        # Of a prompt that goes on for long the head reads the end alone, as ever.
        if position > self.hidden_from:
            self.first, self.n_true = first, position
            self._hold([self._zeros() if hidden is None else hidden[None]])

    def before(self, position: int) -> Hidden:
        """Return the hidden state before a row that is due or still to come [D]: n_true <= position <= n_seen."""
        found: Hidden = self._held()[position - self.n_true].copy()
        return found

    def is_ready(self, position: int) -> bool:
        """Return whether the head can go on from the token at `position`."""
        return self.first <= position == self.n_seen

    def rows(self, tokens: Sequence[int], end: int) -> tuple[Sequence[int], Hidden]:
        """Return tokens and hidden states of the rows from n_true up to `end`."""
        return tokens[self.n_true : end], self._held()[: end - self.n_true]

    def shown(self, end: int) -> None:
        """Note that the rows up to `end` are in the cache."""
        left = self._held()[end - self.n_true :]
        self._hold([left] if len(left) else [])
        self.n_true = end

    def _restart(self) -> None:
        window = min(max(LEAST_WINDOW, math.ceil(WINDOW_SHARE * self._n_prompt)), MOST_WINDOW)
        self.first = max(self._n_prompt - window, 0) // CHUNK * CHUNK
        self.n_true = self.first
        self._hold([] if self.first else [self._zeros()])

    def _zeros(self) -> Hidden:
        return np.zeros((1, self._width), np.float32)

    def _hold(self, pieces: list[Hidden]) -> None:
        self._pieces, self._n_held = pieces, sum(map(len, pieces))

    def _held(self) -> Hidden:
        """Return all that is held, in one piece from now on."""
        if len(self._pieces) != 1:
            joined = np.concatenate(self._pieces) if self._pieces else np.zeros((0, self._width), np.float32)
            self._pieces = [joined]
        return self._pieces[0]


class Head:
    """The draft program of a model, for all its sequences; see `speculator.Speculator`.

    State: the program's cache.
    """

    name = "mtp"
    reads_hidden = True
    has_pages = True
    dropped = (
        "the multi-token-prediction layer of this file {}, so it is not used any more; "
        "it may belong to another model or have been damaged when the file was made"
    )
    news = ""

    def __init__(
        self, program: Program, width: int, max_rows: int, n_vocab: int, listed: Sequence[int] | None = None
    ) -> None:
        """Take what runs the head.

        Args:
            program: Its executable.
            width: Width D of hidden states.
            max_rows: Most rows of one of its steps.
            n_vocab: Tokens V of the model.
            listed: Tokens that the head learned to guess; see `vocabulary.DraftVocabulary`.
        """
        self._program, self.width, self._max_rows = program, width, max_rows
        self._n_vocab = n_vocab
        self._vocabulary = DraftVocabulary(n_vocab, program.take_rows, listed)

    def state(self, n_prompt: int) -> HeadState:
        """Return the state of a new sequence with a prompt of so many tokens."""
        return HeadState(n_prompt, self.width)

    def catch_up(self, state: HeadState, tokens: Sequence[int], pages: PageTable, end: int) -> int:
        """Put the true rows up to `end` into the cache: keys and values, no guess; return up to where they are."""
        while state.n_true < end:
            stop = min(end, state.n_true + self._max_rows)
            given, hidden = state.rows(tokens, stop)
            self._vocabulary.see(given)
            segment = Segment(state.n_true, len(given), pages, first=state.first)
            self._program.catch_up(Step(given, [segment], (), (), hidden))
            state.shown(stop)
        return state.n_true

    def draft(self, asks: Sequence[Ask[HeadState]], rule: Rule) -> Drafted:
        """Guess for several sequences together; see `speculator.Speculator.draft`."""
        chain, native = asks[0].chain, self._program.native
        if len(asks) == 1 and chain is not None and native is not None:
            return self._alone(asks[0], chain, native, rule)
        guesses = Guesses(asks)
        behind = late(asks, self._max_rows)
        for ask in behind:
            self.catch_up(ask.state, ask.tokens, ask.pages, len(ask.tokens) - 1)
        if behind:
            # What was left over while nobody drafted is no part of what a guess does.
            guesses.apart()
        live = list(range(len(asks)))
        step = self._first(asks)
        for depth in itertools.count(1):
            result = self._program.run(step)
            assert result.hidden is not None
            tokens = self._vocabulary.tokens
            # Rows that stand for no token yet are at the end.
            logits = result.logits if tokens is None else result.logits[:, : len(tokens)]
            guesses.take(live, ((row, tokens) for row in logits))
            left = [row for row, i in enumerate(live) if depth == len(guesses.tokens[i]) < asks[i].most]
            if not left or not rule.goes_on(guesses.chances):
                break
            live = [live[row] for row in left]
            # A copy: the next step writes over this one's.
            step = self._next(asks, live, guesses.tokens, result.hidden[left])
        return guesses.drafted(self.name)

    def _alone(self, ask: Ask[HeadState], chain: Chain, native: NativeDraft, rule: Rule) -> Drafted:
        """Guess for one sequence in one call: what Python does between two guesses costs a small model as much."""
        state, tokens, pages, most, guess, _ = ask
        began, read_s, end = perf_counter(), 0.0, len(tokens)
        if late([ask], self._max_rows):
            self.catch_up(state, tokens, pages, end - 1)
            now = perf_counter()
            read_s, began = now - began, now
        rows, hidden = state.rows(tokens, end)
        self._vocabulary.see(rows)
        known = self._vocabulary.tokens
        found, chances, n = chain(*native, rows, hidden, state.n_true, pages, state.first, known, most, rule)
        state.shown(end)
        if n > len(found):
            # Every token is masked, or this raises for logits that are no numbers.
            program, logits, _ = native
            n_known = self._n_vocab if known is None else len(known)
            guess(program.floats(logits, 1, n_known, n_known)[0], known, found)
        draft = draft_of((found, chances, self.name)) if found else NOTHING
        return Drafted([draft], [(1, (perf_counter() - began) / n)] * n, read_s)

    def _first(self, asks: Sequence[Ask[HeadState]]) -> Step:
        """Return the step that shows every true row left and guesses from the last."""
        tokens: list[int] = []
        segments, last_rows, hidden = [], [], []
        for ask in asks:
            state, end = ask.state, len(ask.tokens)
            given, states = state.rows(ask.tokens, end)
            tokens += given
            segments.append(Segment(state.n_true, len(given), ask.pages, first=state.first))
            last_rows.append(len(tokens) - 1)
            hidden.append(states)
            state.shown(end)
        self._vocabulary.see(tokens)
        before = hidden[0] if len(hidden) == 1 else np.concatenate(hidden)
        return Step(tokens, segments, last_rows, last_rows, before)

    def _next(
        self, asks: Sequence[Ask[HeadState]], live: Sequence[int], guesses: Sequence[Sequence[int]], hidden: Hidden
    ) -> Step:
        """Return the step that goes on from each guess with the head's own hidden state."""
        rows = range(len(live))
        segments = [
            Segment(len(asks[i].tokens) + len(guesses[i]) - 1, 1, asks[i].pages, first=asks[i].state.first)
            for i in live
        ]
        return Step([guesses[i][-1] for i in live], segments, rows, rows, hidden)
