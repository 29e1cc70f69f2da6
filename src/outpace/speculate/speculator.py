"""What guesses for all sequences of a step together: a head of the model, or a smaller model beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from outpace.graph.step import Hidden, PageTable
from outpace.sampling.sampler import Chain
from outpace.speculate.drafter import Draft, Drafter, NoDrafter
from outpace.speculate.rule import Rule
from outpace.speculate.vocabulary import Tokens

# From logits [N], the tokens they are of (None: all) and the guesses so far: the next guess and the chance that the
# logits give it, or None where no token is allowed.
Guesser: TypeAlias = Callable[[NDArray[np.float32], Tokens | None, Sequence[int]], tuple[int, float] | None]

# What speculators are called, as `Speculator.name` and in drafts' `source`. A model runs with one of them at most.
SPECULATORS = ("mtp", "medusa", "draft")

# A first guess takes up to this many rows of the text along; more are caught up with before.
MOST_ALONG = 16


class DraftState(Protocol):
    """What a speculator knows of one sequence, and what it has yet to be shown.

    Attributes:
        first: Position from which it reads the text, a page border.
    """

    first: int

    @property
    def hidden_from(self) -> int:
        """Position of the first hidden state that is of use; not asked where the speculator reads none."""

    @property
    def n_seen(self) -> int:
        """Positions that it has been shown, from the front on."""

    def learn(self, position: int, hidden: Hidden | None) -> None:
        """Take in that positions from `position` on were committed.

        A sequence whose memory was needed is computed anew: then this is not where the state has come, and it starts
        over.

        Args:
            position: Of the first one; where hidden states are read at least `hidden_from`.
            hidden: The trunk's hidden states of them [n, D]; None where the speculator reads none.
        """

    def resume(self, first: int, position: int, hidden: Hidden | None) -> None:
        """Begin anew at `position`, the text before which was computed elsewhere.

        Args:
            first: From here on, up to `position`, the speculator's cache holds the rows of the text.
            position: Of the next row.
            hidden: The trunk's hidden state of the position before [D]; None if it is not known.
        """

    def before(self, position: int) -> Hidden | None:
        """Return the hidden state that a speculator needs to go on at a position which is due or still to come [D]."""

    def is_ready(self, position: int) -> bool:
        """Return whether guessing can go on from the token at `position`, the last one of the sequence."""


S = TypeVar("S", bound=DraftState)


class Ask(NamedTuple, Generic[S]):
    """One sequence's wish for guesses.

    Attributes:
        state: The speculator's of the sequence.
        tokens: All its tokens; the last one is chosen, but not yet in any cache.
        pages: Its page table, with room for `most` positions more.
        most: Most guesses.
        guess: Makes each guess as the token itself will be chosen.
        chain: Makes several, one after another, where the sequence's sampler can (`Sampler.chain`).
    """

    state: S
    tokens: Sequence[int]
    pages: PageTable
    most: int
    guess: Guesser
    chain: Chain | None = None


class Reader(DraftState, Protocol):
    """A state whose speculator has a cache of the text.

    Attributes:
        n_true: Up to here the cache holds rows of the text.
    """

    n_true: int


R = TypeVar("R", bound=Reader)


def late(asks: Sequence[Ask[R]], max_rows: int) -> list[Ask[R]]:
    """Return those whose first guess, in a step of so many rows at most, cannot take the rest of the text along."""
    is_crowded = len(asks) * MOST_ALONG > max_rows
    return [ask for ask in asks if is_crowded or len(ask.tokens) - 1 - ask.state.n_true >= MOST_ALONG]


class Drafted(NamedTuple):
    """What has come of asking, and what it took.

    Attributes:
        drafts: For each ask the guesses.
        steps: For each step the sequences in it and its seconds.
        read_s: Seconds of what had to be read before the first step, which is no part of what a guess costs.
    """

    drafts: list[Draft]
    steps: list[tuple[int, float]]
    read_s: float

    @property
    def seconds(self) -> float:
        """All that it took."""
        return sum((seconds for _, seconds in self.steps), self.read_s)


class Speculator(Protocol[S]):
    """Guesses for several sequences together; owns the program that does, and its cache.

    It can cost time, never correctness: every guess is checked before it is kept.

    Attributes:
        name: One of `SPECULATORS`; its drafts have it as their `source`.
        reads_hidden: Whether it is shown the trunk's hidden states. Where not, the trunk does not export any.
        has_pages: Whether it has a cache of its own behind the sequences' page tables.
        dropped: What a user is told where it is used no more, with a gap for the reason.
        news: What a user is to be told now, once: whoever does empties it.
    """

    name: str
    reads_hidden: bool
    has_pages: bool
    dropped: str
    news: str

    def state(self, n_prompt: int) -> S:
        """Return the state of a new sequence with a prompt of so many tokens."""

    def catch_up(self, state: S, tokens: Sequence[int], pages: PageTable, end: int) -> int:
        """Take in rows of the text up to `end`, if that is better done now than at the next draft.

        Called after rows of a prompt, and at page borders where others may go on; only for who `has_pages`.

        Returns:
            Up to where the cache holds rows of the text.
        """

    def draft(self, asks: Sequence[Ask[S]], rule: Rule) -> Drafted:
        """Guess for several sequences together.

        Args:
            asks: Who, and how much at most (at least 1 each).
            rule: Says after each step whether one more is worth its time.

        Raises:
            BackendError: Its logits are no numbers; what it knows of the sequences is as before, or further.
        """


class SpeculatedDrafter:
    """The drafter of a sequence that a speculator guesses for, where copying (`before`) does not promise more.

    The speculator runs for all sequences of a step together, so its guesses come from `Speculator.draft`, not from
    `propose`.
    """

    def __init__(self, name: str, state: DraftState, before: Drafter | None = None) -> None:
        """Take the speculator's name and its state of the sequence, and who copies."""
        self.state = state
        self._before = before or NoDrafter()
        self.name = f"{before.name}+{name}" if before else name
        self.propose = self._before.propose
        self.observe = self._before.observe
