"""The tokens that a draft may hold: rows are given out, and taken back from the oldest."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from outpace.speculate.vocabulary import FREE, HIGH, LISTED, DraftVocabulary, size

V = 60000


class Projection:
    """Which token each row stands for, as it was told."""

    def __init__(self, listed: list[int] | None = None) -> None:
        self.rows = np.full(size(V, is_listed=listed is not None), -1)
        self.calls = 0
        self.vocabulary = DraftVocabulary(V, self.take, listed)

    def take(self, at, tokens):
        self.rows[at : at + len(tokens)] = tokens
        self.calls += 1

    def check(self) -> set[int]:
        """Return the tokens in use, each of which has the row that its logit is looked for in."""
        tokens = self.vocabulary.tokens
        assert tokens.dtype == np.int32
        np.testing.assert_array_equal(self.rows[: len(tokens)], tokens)
        assert len(set(tokens.tolist())) == len(tokens)
        return set(tokens.tolist())


def test_a_small_vocabulary_keeps_all_its_rows():
    vocabulary = DraftVocabulary(16384, lambda at, tokens: 1 / 0)
    vocabulary.see([5, 16383])
    assert vocabulary.tokens is None and size(16384) == 16384
    vocabulary = DraftVocabulary(LISTED, lambda at, tokens: 1 / 0, [7])
    assert vocabulary.tokens is None and size(LISTED, is_listed=True) == LISTED


def test_it_begins_with_the_lowest_and_the_highest_numbers():
    tokens = Projection().check()
    n_low = size(V) - HIGH - FREE
    assert tokens == {*range(n_low), *range(V - HIGH, V)}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, V - 1), unique=True, max_size=40), st.sampled_from([0, LISTED - 20, LISTED + 20]))
def test_it_begins_with_what_is_listed_and_the_lowest_numbers_beside_that(first, n):
    listed = [*first, *(token for token in range(V - 1, 0, -1) if token not in first)][: len(first) + n]
    tokens = Projection(listed).check()
    assert len(tokens) == LISTED
    kept = set(listed[:LISTED])
    lowest = [token for token in range(2 * LISTED) if token not in kept][: LISTED - len(kept)]
    assert tokens == kept | set(lowest)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, V - 1), max_size=400), max_size=12), st.sampled_from([None, [9, 50000, 3]]))
def test_what_a_text_has_used_has_a_row(chunks, listed):
    projection = Projection(listed)
    first, latest = projection.check(), []
    for chunk in chunks:
        before, calls = projection.check(), projection.calls
        projection.vocabulary.see(chunk)
        tokens = projection.check()
        assert first <= tokens
        # All at once, in two stretches where the free rows end.
        assert projection.calls - calls <= (0 if before.issuperset(chunk) else 2)
        latest = [*latest, *dict.fromkeys(token for token in chunk if token not in before)][-FREE:]
        assert tokens == first | set(latest)


def test_the_oldest_gives_way_and_may_come_back():
    projection = Projection()
    first, new = projection.check(), list(range(20000, 20000 + FREE + 1))
    for token in new:
        projection.vocabulary.see([token, token])
    assert projection.check() == first | set(new[1:])
    projection.vocabulary.see([new[0]])
    assert projection.check() == first | {new[0], *new[2:]}


def test_more_at_once_than_there_are_free_rows():
    projection = Projection()
    first, new = projection.check(), list(range(20000, 20000 + 2 * FREE + 7))
    projection.vocabulary.see(new)
    assert projection.check() == first | set(new[-FREE:])
