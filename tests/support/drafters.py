"""Drafters with toy behaviour, for the law that none of them changes a token."""

from __future__ import annotations

import random

from outpace.speculate import Draft, NoDrafter, SuffixDrafter


class Observer:
    """Checks the contract: every committed token is observed once, in order."""

    def __init__(self):
        self.seen: list[int] = []

    def observe(self, kept):
        self.seen += kept

    def check(self, tokens):
        assert list(tokens[: len(self.seen)]) == self.seen
        assert len(tokens) == len(self.seen) + 1


class RandomDrafter(Observer):
    """Guesses anything, any number of it."""

    name = "random"

    def __init__(self, n_vocab: int, seed: int = 0):
        super().__init__()
        self.n_vocab, self.random = n_vocab, random.Random(seed)

    def propose(self, tokens, max_n):
        self.check(tokens)
        n = self.random.randint(0, max(max_n, 0))
        return Draft([self.random.randrange(self.n_vocab) for _ in range(n)], [self.random.random() for _ in range(n)])


class OracleDrafter(Observer):
    """Knows the text, and guesses it right, wrong from some depth on, or always wrong."""

    name = "oracle"

    def __init__(self, text: list[int], n_right=lambda round_: 1 << 30, n_vocab: int = 50):
        super().__init__()
        self.text, self.n_right, self.n_vocab = text, n_right, n_vocab
        self.round = 0

    def propose(self, tokens, max_n):
        self.check(tokens)
        right = self.n_right(self.round)
        self.round += 1
        guesses = self.text[len(tokens) : len(tokens) + max(max_n, 0)]
        guesses = [g if i < right else (g + 1) % self.n_vocab for i, g in enumerate(guesses)]
        return Draft(guesses, [0.9] * len(guesses))


def every_count(text: list[int], n_vocab: int = 50) -> OracleDrafter:
    """A drafter of whose guesses 0, 1, 2, ... are right, in turn: every acceptance count occurs."""
    drafter = OracleDrafter(text, lambda round_: round_ % 6, n_vocab)
    drafter.name = "every_count"
    return drafter


def always_wrong(text: list[int], n_vocab: int = 50) -> OracleDrafter:
    drafter = OracleDrafter(text, lambda _: 0, n_vocab)
    drafter.name = "wrong"
    return drafter


def all_drafters(text: list[int], n_vocab: int = 50):
    """Makers of every drafter, by name; `text` is what plain decoding writes, prompt included."""
    return {
        "none": NoDrafter,
        "suffix": SuffixDrafter,
        "random": lambda: RandomDrafter(n_vocab),
        "oracle": lambda: OracleDrafter(text, n_vocab=n_vocab),
        "every_count": lambda: every_count(text, n_vocab),
        "wrong": lambda: always_wrong(text, n_vocab),
    }
