"""Step costs: measured within a budget, refined by noisy steps, never cheaper for more rows."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outpace.speculate.cost import WIDTHS, StepCosts, measure


def test_measured_widths_are_kept_and_those_between_interpolated():
    costs = StepCosts({1: 2.0, 2: 2.2, 4: 2.6, 8: 4.0, 16: 8.0})
    assert [round(costs(n), 6) for n in (1, 2, 4, 8, 16)] == [2.0, 2.2, 2.6, 4.0, 8.0]
    assert abs(costs(3) - 2.4) < 1e-9
    assert costs(32) == 8.0 + (8.0 - 4.0) / 8 * 16


def test_widths_that_were_not_measured_go_on_as_those_before_them():
    costs = StepCosts({1: 2.0, 2: 2.6, 3: 3.2, 4: 4.0})
    assert [round(costs(n), 6) for n in (6, 8, 12, 16)] == [5.6, 7.2, 10.4, 13.6]
    assert round(StepCosts({1: 1.0}).ratio(16), 6) == 1.9


def test_where_no_time_was_seen_to_pass_all_is_guessed():
    guessed = [StepCosts().ratio(n) for n in range(1, 20)]
    for seconds in ({1: 0.0}, {1: 0.0, 2: 0.0}, {2: 1.0}):
        assert [StepCosts(seconds).ratio(n) for n in range(1, 20)] == guessed
    assert measure(lambda width: 0.0).ratio(4) == guessed[3]


def test_measure_stays_within_its_budget():
    spent = []

    def run(width):
        spent.append(0.003 * (1 + 0.1 * (width - 1)))
        return spent[-1]

    costs = measure(run, 0.05)
    assert sum(spent) <= 0.05
    assert abs(costs.ratio(8) - 1.7) < 1e-9


def test_a_short_answer_of_a_small_model_does_not_wait_for_all_of_the_budget():
    spent = []

    def run(width):
        spent.append(0.002 * (1 + 0.1 * (width - 1)))
        return spent[-1]

    costs = measure(run, 0.05)
    assert sum(spent) <= 8 * 0.002
    assert abs(costs.ratio(4) - 1.3) < 1e-9


def test_a_width_that_was_disturbed_while_it_was_timed_is_not_dear_for_good():
    def run(width):
        return 0.01 * (1 + 0.1 * (width - 1)) * (4 if width == 8 else 1)

    costs = measure(run, 0.2)
    assert abs(costs.ratio(4) - 1.3) < 1e-9
    assert 1.7 <= costs.ratio(8) < 2.6


def test_a_large_model_is_timed_once_and_guessed_beyond():
    widths = []

    def run(width):
        widths.append(width)
        return 0.5

    costs = measure(run, 0.05)
    assert widths == [1]
    assert costs(1) == 0.5
    assert costs(4) > costs(2) > costs(1)


def test_no_step_wider_than_the_executable_takes():
    widths = []
    measure(lambda width: widths.append(width) or 0.001, most=5)
    assert max(widths) == 4


def test_noisy_steps_are_averaged_and_outliers_ignored():
    random_ = random.Random(1)
    costs = StepCosts({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0, 16: 1.0})
    for _ in range(3000):
        width = random_.choice(WIDTHS)
        noise = random_.uniform(0.9, 1.1) * (20 if random_.random() < 0.02 else 1)
        costs.observe(width, (1 + 0.2 * (width - 1)) * noise, is_plain=width == 1)
    for width in WIDTHS:
        assert abs(costs.ratio(width) / (1 + 0.2 * (width - 1)) - 1) < 0.15, width


@pytest.mark.parametrize("is_used", [False, True])
def test_what_is_not_used_is_in_time_believed_to_lie_between_those_on_both_sides(is_used):
    costs = StepCosts({1: 1.0, 2: 1.9, 3: 1.9, 4: 2.0, 8: 2.4, 16: 3.2})
    before = {width: costs.ratio(width) for width in (3, 4, 8, 16)}
    for _ in range(60):
        for width in (2, 3, 4, 8) if is_used else (3, 4, 8):
            costs.observe(width, before.get(width, 1.9), is_plain=False)
        costs.observe(1, 1.0, is_plain=True)
        assert {width: costs.ratio(width) for width in before} == pytest.approx(before)
    assert costs.ratio(2) == pytest.approx(1.9 if is_used else 1.45, rel=1e-2)


def test_nothing_is_forgotten_while_nothing_is_drafted():
    costs = StepCosts({1: 1.0, 2: 1.9, 3: 1.9, 4: 2.0, 8: 2.4, 16: 3.2})
    for _ in range(60):
        costs.observe(1, 1.0, is_plain=True)
    assert costs.ratio(2) == 1.9


@given(st.lists(st.tuples(st.integers(1, 20), st.floats(1e-6, 1e3), st.booleans()), max_size=60))
def test_more_rows_never_cost_less(steps):
    costs = StepCosts()
    for width, seconds, is_plain in steps:
        costs.observe(width, seconds, is_plain=is_plain)
    ratios = [costs.ratio(width) for width in range(1, 40)]
    assert ratios == sorted(ratios)
    assert all(ratio >= 1 for ratio in ratios)
