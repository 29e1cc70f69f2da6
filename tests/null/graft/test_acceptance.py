"""Acceptance by depth against a recount of the same rounds by hand, guess by guess."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outpace.graft.acceptance import Acceptance, Witness
from outpace.graft.measure import Part
from outpace.graft.writer import Answer
from outpace.speculate.drafter import Draft

ROUNDS = st.lists(st.integers(0, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), max_size=30)


@given(ROUNDS, st.integers(1, 6), st.integers(0, 5))
def test_counts_are_those_of_single_guesses(drafts, depth, n_plain):
    drafts = [(min(n, depth), min(kept, depth)) for n, kept in drafts]
    found = Acceptance.of(len(drafts) + n_plain, drafts, depth)
    # Each guess as what became of it: "right", "wrong", or "moot" where one before it was wrong.
    fates = [["right" if i < kept else "wrong" if i == kept else "moot" for i in range(n)] for n, kept in drafts]
    for i in range(depth):
        of_depth = [fate[i] for fate in fates if len(fate) > i]
        right, wrong = of_depth.count("right"), of_depth.count("wrong")
        assert (found.drafted[i], found.accepted[i], found.reached[i]) == (len(of_depth), right, right + wrong)
        assert found.by_depth[i] == pytest.approx(float(Fraction(right, len(of_depth) or 1)))
        assert found.conditional[i] == pytest.approx(float(Fraction(right, right + wrong or 1)))
    n_rounds = len(drafts) + n_plain
    written = n_rounds + sum(fate.count("right") for fate in fates)
    assert found.tokens_per_round == pytest.approx(written / n_rounds if n_rounds else 0.0)


def test_a_witness_drafts_as_deep_as_it_is_told_and_remembers():
    witness = Witness(2)
    draft = Draft((5, 6, 7), (0.5, 0.5, 0.5), "mtp")
    assert witness.choose([draft], 1, 8) == [2]
    witness.observe(draft, 2, 1)
    witness.observe(draft, 1, 0)
    assert witness.rounds == [(2, 1), (1, 0)]


def answer(seconds: float, n: int = 11, drafts=()) -> Answer:
    return Answer(tuple(range(n)), n - 1, seconds, 5, tuple(drafts), 2.0)


def test_speeds_are_of_all_tokens_and_ratios_of_each_prompt():
    taken = [
        {"plain": [answer(2.0), answer(4.0), answer(3.0)], "auto": [answer(1.0), answer(9.0), answer(1.5)]},
        {"plain": [answer(4.0, 21)] * 3, "auto": [answer(1.0, 21)] * 3},
        {"plain": [answer(0.0, 1)] * 3, "auto": [answer(0.0, 1)] * 3},
    ]
    part = Part.of(taken, 3)
    assert part.prompts == 3
    # Medians 3 and 4 s for 10 and 20 tokens, against 1.5 and 1 s.
    assert part.per_s == {"plain": pytest.approx(30 / 7), "auto": pytest.approx(30 / 2.5)}
    ratio = part.ratios["auto", "plain"]
    assert (ratio.low, ratio.high, ratio.n) == (2.0, 4.0, 2)
    assert set(part.ratios) == {("auto", "plain")}
    assert part.as_json()["auto_is"] == "no verdict before 5 rounds"
    assert part.acceptance.rounds == 0


def test_the_head_counts_once_however_often_it_is_asked():
    rounds = [(3, 3), (3, 0), (1, 1)]
    part = Part.of([{"mtp": [answer(1.0, drafts=rounds)] * 4}], 3)
    assert part.acceptance.drafted == (3, 2, 2) and part.acceptance.accepted == (2, 1, 1)
    assert part.acceptance.reached == (3, 1, 1) and part.acceptance.rounds == 5
