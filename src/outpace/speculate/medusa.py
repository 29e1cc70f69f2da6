"""Medusa heads as a speculator: every guess of a round from one hidden state of the trunk, one head for each depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from outpace.graph.step import Hidden, PageTable, Segment, Step, StepResult
from outpace.speculate.guesses import Guesses
from outpace.speculate.rule import Rule
from outpace.speculate.speculator import Ask, Drafted
from outpace.speculate.vocabulary import DraftVocabulary


class Program(Protocol):
    """Heads ready to run; they have no cache."""

    def run(self, step: Step, head: int = 0) -> StepResult:
        """Return one head's logits of rows of hidden states."""

    def take_rows(self, at: int, tokens: Sequence[int]) -> None:
        """Let the rows of the vocabulary projection from `at` on stand for these tokens."""


class MedusaState:
    """What the heads know of one sequence: the trunk's hidden state of its last position, and nothing else.

    Attributes:
        first: Nothing before is ever read, whatever this says.
        n_named: Tokens at the sequence's front that the draft vocabulary has been shown.
    """

    __slots__ = ("_last", "_n_prompt", "first", "n_named", "n_seen")

    def __init__(self, n_prompt: int) -> None:
        self._n_prompt = n_prompt
        self.first = self.n_named = 0
        self.n_seen = 0
        self._last: Hidden | None = None

    @property
    def hidden_from(self) -> int:
        """Position of the last token of the prompt: a hidden state before it is of no use."""
        return self._n_prompt - 1

    def learn(self, position: int, hidden: Hidden | None) -> None:
        """Take in the last of the trunk's hidden states of positions `position` on [n, D]."""
        assert hidden is not None and len(hidden)
        self.n_seen = position + len(hidden)
        self._last = hidden[-1].copy()

    def resume(self, first: int, position: int, hidden: Hidden | None) -> None:  # noqa: ARG002 - the protocol's
        """Begin anew at `position`; the step that comes next tells all there is to know."""
        self.n_seen, self._last = position, None

    def before(self, position: int) -> None:
        """Return nothing: whoever goes on elsewhere computes a row first."""

    def is_ready(self, position: int) -> bool:
        """Return whether guessing can go on from the token at `position`."""
        return self._last is not None and position == self.n_seen

    @property
    def last(self) -> Hidden:
        """The trunk's hidden state of the position before the sequence's last token [D]."""
        assert self._last is not None, "is_ready was not asked"
        return self._last


class Medusa:
    """The Medusa heads of a model, for all its sequences; see `speculator.Speculator`.

    A draft costs a small matrix and the trimmed vocabulary projection for each guess. There is no cache, so nothing to
    catch up with, and nothing to compute while a prompt is read.

    State: the draft vocabulary.
    """

    name = "medusa"
    reads_hidden = True
    has_pages = False
    dropped = (
        "the Medusa heads of this file {}, so they are not used any more; "
        "they may belong to another model or have been damaged when the file was made"
    )
    news = ""

    def __init__(self, program: Program, n_heads: int, n_vocab: int, listed: Sequence[int] | None = None) -> None:
        """Take what runs the heads.

        Args:
            program: Their executable.
            n_heads: How many there are.
            n_vocab: Tokens V of the model.
            listed: Tokens that they learned to guess; see `vocabulary.DraftVocabulary`.
        """
        self._program, self._n_heads = program, n_heads
        self._vocabulary = DraftVocabulary(n_vocab, program.take_rows, listed)

    def state(self, n_prompt: int) -> MedusaState:
        """Return the state of a new sequence with a prompt of so many tokens."""
        return MedusaState(n_prompt)

    def catch_up(self, state: MedusaState, tokens: Sequence[int], pages: PageTable, end: int) -> int:  # noqa: ARG002
        """Do nothing: there is no cache."""
        return end

    def draft(self, asks: Sequence[Ask[MedusaState]], rule: Rule) -> Drafted:
        """Guess for several sequences together; see `speculator.Speculator.draft`."""
        guesses = Guesses(asks)
        for ask in asks:
            self._vocabulary.see(ask.tokens[ask.state.n_named :])
            ask.state.n_named = len(ask.tokens)
        live = list(range(len(asks)))
        for head in range(self._n_heads):
            tokens = self._vocabulary.tokens
            result = self._program.run(_step([asks[i] for i in live]), head)
            # Rows that stand for no token yet are at the end.
            logits = result.logits if tokens is None else result.logits[:, : len(tokens)]
            guesses.take(live, ((row, tokens) for row in logits))
            live = [i for i in live if head + 1 == len(guesses.tokens[i]) < asks[i].most]
            if not live or head + 1 == self._n_heads or not rule.goes_on(guesses.chances):
                break
        return guesses.drafted(self.name)


def _step(asks: Sequence[Ask[MedusaState]]) -> Step:
    """Return a row for each sequence: its last token, and the hidden state before that."""
    segments = [Segment(len(ask.tokens) - 1, 1, ask.pages) for ask in asks]
    hidden = np.stack([ask.state.last for ask in asks])
    return Step([ask.tokens[-1] for ask in asks], segments, range(len(asks)), (), hidden)
