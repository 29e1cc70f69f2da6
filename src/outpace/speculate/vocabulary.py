"""The tokens that a draft may hold: the most useful ones of a vocabulary, and those that this text has used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Tokens: TypeAlias = NDArray[np.int32]

# Where nobody knows which tokens are useful, a draft head has a row for one in so many, but for at least LEAST;
# vocabularies up to that size keep all.
ONE_IN, LEAST = 8, 16384

# Where the file lists the tokens that its head learned to guess, so many of them are enough: 93% of what
# SmolLM2-135M says. More cost each guess more than they give (docs/decisions/0016).
LISTED = 4096

# Rows for the highest numbers, and those kept free for tokens that a text uses beside those; the oldest gives way.
HIGH, FREE = 512, 1024


def size(n_vocab: int, *, is_listed: bool = False) -> int:
    """Return how many rows the draft head of a vocabulary has; `is_listed` where the useful tokens are known."""
    return min(n_vocab, (LISTED if is_listed else max(LEAST, -(-n_vocab // ONE_IN // 16) * 16)) + FREE)


class DraftVocabulary:
    """Which token each row of a draft head stands for.

    Those that the file lists are taken, as long as there are some. Tokens of a byte-pair vocabulary are numbered in the
    order in which they were merged, the most frequent first, so of others the lowest numbers are taken, and, where
    there is no list, the highest ones, where special tokens stand.

    State: the rows in the free stretch, and whose turn it is to give way.

    Attributes:
        tokens: The token of each row in use, int32 [N], none twice; None where the head has every token's row, in
            order.
    """

    def __init__(
        self, n_vocab: int, take: Callable[[int, Sequence[int]], None], listed: Sequence[int] | None = None
    ) -> None:
        """Fill the head.

        Args:
            n_vocab: Tokens V of the model.
            take: Called with a row and tokens: that row and those after it are to stand for them.
            listed: Tokens that the head learned to guess, those that the model says most often first.
        """
        n = size(n_vocab, is_listed=listed is not None)
        self.tokens: Tokens | None = None
        if n == n_vocab:
            return
        self._take = take
        self._free_from, self._turn = n - FREE, 0
        self._rows = np.zeros(n, np.int32)
        if listed is None:
            self._rows[: self._free_from] = [*range(n - HIGH - FREE), *range(n_vocab - HIGH, n_vocab)]
        else:
            known = dict.fromkeys((*listed[: self._free_from], *range(self._free_from)))
            self._rows[: self._free_from] = [*known][: self._free_from]
        self.tokens = self._rows[: self._free_from]
        self._has = bytearray(n_vocab)
        for token in self.tokens.tolist():
            self._has[token] = 1
        take(0, self.tokens.tolist())

    def see(self, tokens: Sequence[int]) -> None:
        """Give rows to tokens of the text that have none."""
        if self.tokens is None:
            return
        has, new = self._has, []
        for token in tokens:
            if not has[token]:
                has[token] = 1
                new.append(token)
        while new:
            # As many at once as stand side by side: a call costs as much as several rows.
            given, new = new[: FREE - self._turn], new[FREE - self._turn :]
            row = self._free_from + self._turn
            for before in self.tokens[row : row + len(given)].tolist():
                has[before] = 0
            self._rows[row : row + len(given)] = given
            self._take(row, given)
            self._turn = (self._turn + len(given)) % FREE
            self.tokens = self._rows[: max(len(self.tokens), row + len(given))]
