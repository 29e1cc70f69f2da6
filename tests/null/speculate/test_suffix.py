"""The suffix drafter finds what a naive search finds, and says how sure it is: the twin, and the native index."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outpace.speculate.suffix import LENGTHS, MAX_MATCH, SuffixDrafter

KINDS = pytest.mark.parametrize("reference", [False, True], ids=["native", "twin"])


def longest_match(tokens: list[int]) -> int:
    """The longest end of `tokens` that also stands earlier, followed by something."""
    best = 0
    for place in range(1, len(tokens)):
        n = 0
        while n < place and tokens[place - 1 - n] == tokens[len(tokens) - 1 - n]:
            n += 1
        best = max(best, n)
    return best


def agrees(tokens: list[int], place: int, n: int) -> bool:
    return tokens[place - n : place] == tokens[len(tokens) - n :]


@KINDS
@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=120))
def test_match_is_real_and_as_long_as_the_tables_can_tell(reference, tokens):
    drafter = SuffixDrafter(reference=reference)
    for i, token in enumerate(tokens):
        drafter.observe([token])
        source, match = drafter.match
        seen, naive = tokens[: i + 1], longest_match(tokens[: i + 1])
        known = [n for n in LENGTHS if n <= naive]
        assert (source >= 0) == bool(known)
        if source >= 0:
            assert 0 < source <= i
            assert agrees(seen, source, match)
            assert max(known) <= match <= naive


@KINDS
@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.integers(0, 12), st.data())
def test_draft_copies_what_followed(reference, tokens, n, data):
    drafter = SuffixDrafter(reference=reference)
    drafter.observe(tokens[: data.draw(st.integers(0, len(tokens)))])
    draft = drafter.propose(tokens, n)
    source, _match = drafter.match
    assert len(draft.tokens) == len(draft.confidence) == (n if source >= 0 else 0)
    written = list(tokens)
    for i, token in enumerate(draft.tokens):
        assert token == written[source + i]
        written.append(token)
    assert all(0 <= c <= 1 for c in draft.confidence)


@KINDS
def test_propose_and_observe_agree_however_they_are_mixed(reference):
    tokens = [random.Random(1).randrange(4) for _ in range(300)]
    whole, mixed = SuffixDrafter(reference=reference), SuffixDrafter(reference=reference)
    whole.observe(tokens)
    mixed.observe(tokens[:100])
    for i in range(100, 300):
        mixed.propose(tokens[: i + 1], 4)
        mixed.observe(tokens[i : i + 1])
    assert whole.match == mixed.match
    assert whole.propose(tokens, 8) == mixed.propose(tokens, 8)


@KINDS
def test_a_copied_passage_is_followed_to_its_end(reference):
    text = list(range(100, 200))
    drafter = SuffixDrafter(reference=reference)
    drafter.observe([*text, 1, 2, 3, *text[:10]])
    assert list(drafter.propose([*text, 1, 2, 3, *text[:10]], 5).tokens) == text[10:15]


@KINDS
def test_confidence_follows_the_record(reference):
    drafter = SuffixDrafter(reference=reference)
    drafter.observe([5, 6, 7, 8] * 200)
    sure = drafter.propose([5, 6, 7, 8] * 200, 1).confidence[0]
    doubtful = SuffixDrafter(reference=reference)
    tokens = []
    for i in range(300):
        # The same pair, never followed by the same token.
        tokens += [1, 2, 100 + i]
    tokens += [1, 2]
    doubtful.observe(tokens)
    assert doubtful.match[1] == 2
    assert sure > 0.9
    assert doubtful.propose(tokens, 1).confidence[0] < 0.1


@KINDS
def test_a_match_is_counted_to_its_bound(reference):
    drafter = SuffixDrafter(reference=reference)
    text = list(range(500))
    drafter.observe([*text, *text[:400]])
    assert drafter.match[0] == 400
    assert drafter.match[1] >= MAX_MATCH


@KINDS
def test_nothing_is_proposed_for_nothing(reference):
    drafter = SuffixDrafter(reference=reference)
    assert drafter.propose([], 4).tokens == ()
    drafter.observe([1, 2, 1, 2])
    assert drafter.propose([1, 2, 1, 2], 0).tokens == ()


@KINDS
def test_the_latest_occurrence_is_copied(reference):
    drafter = SuffixDrafter(reference=reference)
    assert drafter.propose([1, 2, 3, 1, 2, 4, 9, 1, 2], 1).tokens == [4]


def test_hashes_that_collide_do_not_make_a_match(monkeypatch):
    monkeypatch.setattr("outpace.speculate.suffix.hash", lambda key: 0, raising=False)
    tokens = [random.Random(3).randrange(3) for _ in range(200)]
    drafter = SuffixDrafter(reference=True)
    for i, token in enumerate(tokens):
        drafter.observe([token])
        source, match = drafter.match
        assert source < 0 or agrees(tokens[: i + 1], source, match)
