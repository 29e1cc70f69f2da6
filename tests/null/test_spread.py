"""Medians with an interval, and what may be said of them."""

from itertools import product

import pytest

from outpace.spread import LEAST_ROUNDS, RISK, Spread, direction, ratios, verdict


def left_out(n: int, k: int) -> float:
    """How often k values may be left out at each end and the true median with them, counted over all 2**n draws."""
    missed = 0
    for above in product((False, True), repeat=n):
        # Of n values on a coin's side of the median each; the interval runs from the k-th lowest to the k-th highest.
        missed += not k < sum(above) < n - k
    return missed / 2**n


@pytest.mark.parametrize("n", range(LEAST_ROUNDS, 15))
def test_the_interval_is_the_narrowest_that_seldom_leaves_out_the_truth(n):
    found = Spread.of(range(n))
    k = int(found.low)
    assert found.high == n - 1 - k and left_out(n, k) <= RISK
    assert left_out(n, k + 1) > RISK


def test_of_few_values_it_is_the_extremes():
    assert [(s.low, s.median, s.high) for s in map(Spread.of, ([2.0], [1, 3], [3, 1, 2]))] == [
        (2, 2, 2),
        (1, 2, 3),
        (1, 2, 3),
    ]


def test_verdicts():
    values = [1.8, 1.9, 2.0, 2.1, 2.2]
    found = Spread.of(values)
    assert [verdict(found, x) for x in (1.8, 1.81, 2.3)] == ["met", "inside the noise", "not met"]
    assert [verdict(found, x, at_most=True) for x in (2.2, 2.0, 1.7)] == ["met", "inside the noise", "not met"]
    assert verdict(Spread.of(values[:4]), 1) == "no verdict before 5 rounds"
    assert ratios([2, 6, 4], [1, 2, 1]) == Spread.of([2, 3, 4])


def test_directions():
    assert direction(Spread.of([1.1, 1.2, 1.3, 1.2, 1.1])) == "faster"
    assert direction(Spread.of([0.9, 0.8, 0.7, 0.9, 0.9])) == "slower"
    assert direction(Spread.of([1.0, 1.2, 1.3, 1.2, 1.1])) == direction(Spread.of([1.0] * 9)) == "inside the noise"
    assert direction(Spread.of([2.0] * 4)) == "no verdict before 5 rounds"
