"""What a head may be expected to give: weights that grow come to the same as evidence that fades."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outpace.speculate import prospect
from outpace.speculate.prospect import FURTHER_TRUST, MEMORY, PRIOR, TRUST, Prospect


def faded(rounds: list[tuple[int, int]]) -> list[float]:
    """The chance of each depth, from sums over all rounds, each less the longer ago it was."""
    depths = max((min(kept + 1, verified) for verified, kept in rounds), default=0)
    found, before = [], PRIOR
    for depth in range(depths):
        tries = hits = 0.0
        for age, (verified, kept) in enumerate(reversed(rounds)):
            share = (1 - 1 / MEMORY) ** age
            if depth < verified and depth <= kept:
                tries += share
                hits += share * (depth < kept)
        trust = FURTHER_TRUST if depth else TRUST
        before = (hits + trust * before) / (tries + trust)
        found.append(before)
    return found


ROUNDS = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 5)).map(lambda each: (each[0], min(each))), max_size=60)


@pytest.mark.parametrize("most_weight", [1e100, 1.5])
@given(rounds=ROUNDS, asked=st.integers(0, 7))
def test_evidence_fades(most_weight, rounds, asked):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prospect, "MOST_WEIGHT", most_weight)
        found = Prospect()
        for verified, kept in rounds:
            found.observe(verified, kept)
            found.chance(asked)
    expected = faded(rounds) or [PRIOR]
    for depth in (asked, *range(8)):
        assert found.chance(depth) == pytest.approx(expected[min(depth, len(expected) - 1)], rel=1e-9)


def test_it_lasts():
    """Far beyond the largest weight that a float could hold."""
    found = Prospect()
    for i in range(60_000):
        found.observe(2, i % 3 % 2)
    assert found.chance(0) == pytest.approx(1 / 3, abs=0.03) and 0 < found.chance(1) < 0.12
