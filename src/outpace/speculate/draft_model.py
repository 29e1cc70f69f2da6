"""A separate, smaller model as a drafter: its trunk guesses on from the text, its cache behind the same page tables."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from outpace.graph.step import Hidden, Logits, PageTable, Segment, Step, StepResult
from outpace.speculate.guesses import Guesses
from outpace.speculate.rule import Rule
from outpace.speculate.speculator import Ask, Drafted, late
from outpace.speculate.vocabulary import DraftVocabulary, Tokens


class Program(Protocol):
    """A smaller model's trunk ready to run; the larger one's page tables are its own too."""

    n_vocab: int

    def run(self, step: Step) -> StepResult:
        """Run rows of tokens: stage their keys and values, return the wanted logits."""

    def catch_up(self, step: Step) -> None:
        """Stage keys and values alone."""

    def take_rows(self, at: int, tokens: Sequence[int]) -> None:
        """Let the rows of the vocabulary projection from `at` on stand for these tokens."""


class DraftModelState:
    """How far a draft model has read one sequence. What it reads are tokens, so nothing is lost by reading later.

    Attributes:
        first: It reads from the front.
        n_true: Its cache holds the rows of tokens[:n_true].
        fed: The guesses whose rows follow them there.
        is_strange: Whether the text has a token that the draft model does not know.
    """

    __slots__ = ("_model", "fed", "first", "hidden_from", "is_strange", "n_seen", "n_true")

    def __init__(self, model: DraftModel) -> None:
        self._model = model
        self.first = self.hidden_from = 0
        # It need not be shown any position.
        self.n_seen = sys.maxsize
        self.n_true = 0
        self.fed: list[int] = []
        self.is_strange = False

    def learn(self, position: int, hidden: Hidden | None) -> None:  # noqa: ARG002 - it reads none
        """Take in that positions from `position` on were committed; start over if they are computed anew."""
        # The last token of a text is read ahead of the trunk, by one position.
        if position < self.n_true - 1:
            self.n_true = 0
            self.fed.clear()

    def resume(self, first: int, position: int, hidden: Hidden | None) -> None:  # noqa: ARG002
        """Go on from `position`, up to where the sequence's pages hold rows of the text."""
        assert first == 0, "a draft model reads from the front"
        self.n_true = position
        self.fed.clear()

    def before(self, position: int) -> None:
        """Return nothing: no hidden state is needed to go on."""

    def is_ready(self, position: int) -> bool:
        """Return whether the draft model can go on from the token at `position`."""
        return not self.is_strange and self._model.has_room(position)

    def recall(self, tokens: Sequence[int]) -> None:
        """Count the rows of guesses that have become text, all before the last token."""
        for guess in self.fed:
            if self.n_true >= len(tokens) - 1 or tokens[self.n_true] != guess:
                break
            self.n_true += 1
        self.fed.clear()


class DraftModel:
    """A smaller model that drafts; see `speculator.Speculator`.

    It reads a text when there is something to draft, not before: a prompt is then read in steps that compute keys and
    values alone. Rows of guesses that turn out right are as good as any, since tokens are all that it reads.

    State: the program's cache.
    """

    name = "draft"
    reads_hidden = False
    has_pages = True
    dropped = (
        "the draft model {}, so it is not used any more; "
        "it may have been trained for something else, or its file may be damaged"
    )

    def __init__(self, program: Program, n_context: int, max_rows: int, n_vocab: int, n_own: int) -> None:
        """Take what runs the draft model.

        Args:
            program: Its executable.
            n_context: Longest context that it was trained for, in positions.
            max_rows: Most rows of one of its steps.
            n_vocab: Tokens V of the model that it drafts for.
            n_own: Tokens of its own vocabulary, which may be filled up to another size.
        """
        self._program, self._n_context, self._max_rows = program, n_context, max_rows
        self._n_vocab, self._n_own = n_vocab, n_own
        self._vocabulary = DraftVocabulary(n_own, program.take_rows)
        self._has_said_so = False
        self.news = ""

    def state(self, n_prompt: int) -> DraftModelState:  # noqa: ARG002 - it makes no difference
        """Return the state of a new sequence."""
        return DraftModelState(self)

    def has_room(self, position: int) -> bool:
        """Return whether a position lies in the context that the draft model was trained for; once, say where not."""
        if position < self._n_context:
            return True
        if not self._has_said_so:
            self._has_said_so = True
            self.news = (
                f"the draft model was trained for a context of {self._n_context} tokens; "
                "what comes after them is written without it"
            )
        return False

    def catch_up(self, state: DraftModelState, tokens: Sequence[int], pages: PageTable, end: int) -> int:
        """Leave the rows for later; return up to where they are in the cache."""
        del tokens, pages
        return min(state.n_true, end)

    def draft(self, asks: Sequence[Ask[DraftModelState]], rule: Rule) -> Drafted:
        """Guess for several sequences together; see `speculator.Speculator.draft`."""
        guesses = Guesses(asks)
        live = [i for i, ask in enumerate(asks) if self._can_read(ask)]
        most = [min(ask.most, self._n_context - len(ask.tokens) + 1) for ask in asks]
        self._read([asks[i] for i in live])
        # What reading a prompt takes is no part of what a guess does.
        guesses.apart()
        for depth in itertools.count(1):
            if not live:
                break
            result = self._program.run(self._step([asks[i] for i in live], [guesses.tokens[i] for i in live]))
            guesses.take(live, map(self._known, result.logits))
            live = [i for i in live if depth == len(guesses.tokens[i]) < most[i]]
            if live and not rule.goes_on(guesses.chances):
                break
        return guesses.drafted(self.name)

    def _can_read(self, ask: Ask[DraftModelState]) -> bool:
        """Take in what has become of the last guesses; return whether the draft model knows every token of the text."""
        state = ask.state
        state.recall(ask.tokens)
        if self._n_own < self._n_vocab and max(ask.tokens[state.n_true :]) >= self._n_own:
            state.is_strange = True
        return not state.is_strange

    def _read(self, asks: Sequence[Ask[DraftModelState]]) -> None:
        """Put rows of the texts into the cache, several texts in a step; a first guess takes the last few along."""
        behind = late(asks, self._max_rows)
        while behind:
            given: list[int] = []
            segments: list[Segment] = []
            for state, tokens, pages, *_ in behind:
                rows = tokens[state.n_true : min(len(tokens) - 1, state.n_true + self._max_rows - len(given))]
                if rows:
                    given += rows
                    segments.append(Segment(state.n_true, len(rows), pages))
                    state.n_true += len(rows)
            if given:
                self._vocabulary.see(given)
                self._program.catch_up(Step(given, segments, (), ()))
            behind = [ask for ask in behind if ask.state.n_true < len(ask.tokens) - 1]

    def _step(self, asks: Sequence[Ask[DraftModelState]], guesses: Sequence[Sequence[int]]) -> Step:
        """Return the step that reads the rest of each text, or its latest guess, and guesses on from there."""
        given: list[int] = []
        segments, wanted = [], []
        for (state, tokens, pages, *_), own in zip(asks, guesses, strict=True):
            begin = state.n_true
            if own:
                begin = len(tokens) + len(own) - 1
                state.fed.append(own[-1])
                given.append(own[-1])
            else:
                rows = tokens[begin:]
                self._vocabulary.see(rows)
                given += rows
                state.n_true = len(tokens)
            wanted.append(len(given) - 1)
            segments.append(Segment(begin, 1 if own else len(rows), pages))
        return Step(given, segments, wanted)

    def _known(self, logits: Logits) -> tuple[Logits, Tokens | None]:
        """Return the logits [N] of the tokens that both models have, and which those are (None: all, in order)."""
        tokens = self._vocabulary.tokens
        if tokens is None:
            if self._n_own == self._n_vocab:
                return logits, None
            n = min(self._n_own, self._n_vocab)
            return logits[:n], np.arange(n, dtype=np.int32)
        # Rows that stand for no token yet are at the end.
        logits = logits[: len(tokens)]
        if self._n_own > self._n_vocab:
            is_known = tokens < self._n_vocab
            return logits[is_known], tokens[is_known]
        return logits, tokens
