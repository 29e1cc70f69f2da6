"""Acceptance asks for rows in order, no further than plain decoding would."""

from hypothesis import given
from hypothesis import strategies as st

from outpace.speculate import Kept, accept


@given(st.lists(st.integers(0, 2), max_size=8), st.lists(st.integers(0, 2), min_size=9, max_size=9))
def test_keeps_the_agreeing_front_and_asks_no_further(draft, chosen):
    asked = []

    def choose(i):
        asked.append(i)
        return chosen[i]

    kept = accept(draft, choose)
    agreeing = next((i for i, guess in enumerate(draft) if guess != chosen[i]), len(draft))
    assert kept == Kept(agreeing, chosen[agreeing])
    assert asked == list(range(agreeing + 1))


def test_every_count():
    text = [3, 1, 4, 1, 5]
    for n_right in range(5):
        draft = [*text[:n_right], *([9] * (4 - n_right))]
        assert accept(draft, lambda i: text[i]) == Kept(n_right, text[n_right])
