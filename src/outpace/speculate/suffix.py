"""Draft by copying what followed the same tokens earlier in the prompt or the output."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from outpace.speculate.drafter import NOTHING, Draft, draft_of

# Guesses and the chance of each.
Guesses: TypeAlias = tuple[list[int], list[float]]

# Lengths of the n-grams whose latest occurrence is remembered, each twice the one before.
LENGTHS = (2, 4, 8, 16)

# A match is measured up to this length; longer ones count as this long.
MAX_MATCH = 64

# Chance that a guess is right before anything was seen, by bits of the match length: (none, 1, 2-3, 4-7, ... 64).
PRIOR = (0.0, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
PRIOR_WEIGHT = 4.0

# Evidence fades: a class of lengths remembers about this many of its last guesses.
MEMORY = 64.0


class SuffixDrafter:
    """Copies on from the latest earlier place where the recent tokens stand.

    State: an index of all tokens seen, native where the module is built, else its twin; both give the same drafts.

    Cost: natively about 0.3 us for a token whatever the context, 1 us for a proposal, 50 to 100 bytes a token.
    """

    name = "suffix"

    def __init__(self, *, reference: bool = False) -> None:
        """Start with an empty text; `reference` takes the twin in any case."""
        self._index: _Index = Twin() if reference else _index()
        self._propose = self._index.propose
        # Takes in tokens that `propose` has not shown yet (a prompt comes this way).
        self.observe: Callable[..., None] = self._index.observe

    @property
    def match(self) -> tuple[int, int]:
        """Place of the token expected next (or -1), and how many tokens before it match the end."""
        return self._index.match

    def propose(self, tokens: Sequence[int], max_n: int) -> Draft:
        """Guess that what followed the longest match follows again."""
        found = self._propose(tokens, max_n)
        return NOTHING if found is None else draft_of((*found, "suffix"))


class Twin:
    """The index in Python: slow, large, and the definition of what the native one proposes.

    State: all tokens seen; for each of `LENGTHS` the place after the latest occurrence of every n-gram; `_source`, the
    place of the token expected next (or -1), and `_match`, how many tokens before it agree with the end of the
    sequence. While the source goes on being right it is followed; otherwise the tables are asked. Each token is also
    a check of what the source expected, drafted or not, so hits by match length are learned for nothing.
    """

    def __init__(self) -> None:
        self._tokens: list[int] = []
        # For each length: the place after the latest occurrence of every n-gram, by its hash; and the hashes of the
        # last n-grams of half the length, from which those of this length are made.
        self._levels: list[tuple[dict[int, int], list[int | None]]] = [({}, [None] * (n // 2)) for n in LENGTHS]
        self._source = -1
        self._match = 0
        self._n_observed = 0
        self._hits = [p * PRIOR_WEIGHT for p in PRIOR]
        self._tries = [PRIOR_WEIGHT for _ in PRIOR]

    @property
    def match(self) -> tuple[int, int]:
        """Place of the token expected next (or -1), and how many tokens before it match the end."""
        return self._source, self._match

    def propose(self, tokens: Sequence[int], max_n: int) -> Guesses | None:
        """Take in the end of `tokens` and guess what follows; None without a match."""
        for i in range(len(self._tokens), len(tokens)):
            self._append(tokens[i])
        source, match = self._source, self._match
        if source < 0 or max_n < 1:
            return None
        known = self._tokens
        guesses = known[source : source + max_n]
        period = len(known) - source
        while len(guesses) < max_n:
            # The copy has caught up with the end of the text: go on with what was drafted.
            guesses.append(guesses[-period])
        hits, tries = self._hits, self._tries
        confidence = []
        for length in range(match, match + max_n):
            kind = length.bit_length() if length < MAX_MATCH else MAX_MATCH.bit_length()
            confidence.append(hits[kind] / tries[kind])
        return guesses, confidence

    def observe(self, kept: Sequence[int]) -> None:
        """Take in committed tokens that `propose` has not shown yet."""
        first_new = len(self._tokens) - self._n_observed
        self._n_observed += len(kept)
        for i in range(max(first_new, 0), len(kept)):
            self._append(kept[i])

    def _append(self, token: int) -> None:
        """Check the expectation against one token of truth, index it, and find the match at the new end."""
        tokens, source, match = self._tokens, self._source, self._match
        if source >= 0:
            hit = tokens[source] == token
            kind = match.bit_length() if match < MAX_MATCH else MAX_MATCH.bit_length()
            fade = 1.0 if self._tries[kind] < MEMORY else 1.0 - 1.0 / MEMORY
            self._tries[kind] = self._tries[kind] * fade + 1.0
            self._hits[kind] = self._hits[kind] * fade + hit
            source, match = (source + 1, match + 1) if hit else (-1, 0)
        tokens.append(token)
        end = len(tokens)
        key: int = token
        for after, ring in self._levels:
            # `key` stands for the last len(ring) tokens, the ring for those before them: together twice as many.
            n = len(ring)
            slot = end % n
            before, ring[slot] = ring[slot], key
            key = hash((before, key))
            # Ask before writing, or the n-gram at the end would find itself. A longer one takes over from a shorter.
            if match < 2 * n and (place := after.get(key)) is not None:
                measured = self._measure(place)
                if measured >= 2 * n:
                    source, match = place, measured
            after[key] = end
        self._source, self._match = source, match

    def _measure(self, place: int) -> int:
        """Return how many tokens before `place` agree with the end of the sequence, up to MAX_MATCH."""
        tokens = self._tokens
        end = len(tokens)
        limit = min(place, MAX_MATCH)
        n = 0
        while n < limit and tokens[place - 1 - n] == tokens[end - 1 - n]:
            n += 1
        return n


class _Index(Protocol):
    """What `Twin` and `outpace._native.Suffix` both are."""

    @property
    def match(self) -> tuple[int, int]: ...
    def propose(self, tokens: Sequence[int], max_n: int) -> Guesses | None: ...
    def observe(self, kept: Sequence[int]) -> None: ...


def _index() -> _Index:
    try:
        module: Any = importlib.import_module("outpace._native")
    except ImportError:
        return Twin()
    found: _Index = module.Suffix()
    return found
