"""The tokens that a draft may hold: the most useful ones of a large vocabulary, and those that this text has used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.float32]

# A draft head has a row for one token in so many, but for at least LEAST; vocabularies up to that size keep all.
ONE_IN, LEAST = 8, 16384

# Rows kept free for tokens that a text uses beside those; the oldest gives way.
FREE = 1024


def size(n_vocab: int) -> int:
    """Return how many rows the draft head of a vocabulary has."""
    if n_vocab <= LEAST:
        return n_vocab
    return min(n_vocab, max(LEAST, -(-n_vocab // ONE_IN // 16) * 16) + FREE)


class DraftVocabulary:
    """Which token each row of a draft head stands for.

    Tokens of a byte-pair vocabulary are numbered in the order in which they were merged, the most frequent first, so
    the lowest numbers are taken, and the highest ones, where special tokens stand.

    State: the rows in the free stretch, and whose turn it is to give way.
    """

    def __init__(self, n_vocab: int, take: Callable[[int, Sequence[int]], None]) -> None:
        """Fill the head.

        Args:
            n_vocab: Tokens V of the model.
            take: Called with a row and tokens: that row and those after it are to stand for them.
        """
        n = size(n_vocab)
        self.n_vocab, self._take = n_vocab, take
        n_high = 0 if n == n_vocab else 512
        n_low = n - n_high - (0 if n == n_vocab else FREE)
        high = range(n_vocab - n_high, n_vocab)
        # A free row stands for the first token until it is needed: twice the same is no harm.
        self._tokens = np.array([*range(n_low), *high, *[0] * (n - n_low - n_high)], np.int32)
        self._has = np.zeros(n_vocab, bool)
        self._has[self._tokens] = True
        self._free_from, self._turn = n_low + n_high, 0
        self._wide = np.full(n_vocab, -np.inf, np.float32)
        if n < n_vocab:
            take(0, self._tokens.tolist())

    def see(self, tokens: Sequence[int]) -> None:
        """Give rows to tokens of the text that have none."""
        if self._free_from == len(self._tokens):
            return
        for token in tokens:
            if not self._has[token]:
                row = self._free_from + self._turn
                self._turn = (self._turn + 1) % FREE
                before = self._tokens[row]
                if before:
                    self._has[before] = False
                    self._wide[before] = -np.inf
                self._tokens[row] = token
                self._has[token] = True
                self._take(row, [token])

    def widen(self, logits: Rows) -> Rows:
        """Return logits of the whole vocabulary [V], those without a row at -inf; valid until the next call."""
        if self.n_vocab == len(self._tokens):
            return logits
        self._wide[self._tokens] = logits
        return self._wide
