"""A rule goes on where what the last guesses are worth is more than what it asks, by a sum made anew for each case."""

import math

import numpy as np
import pytest

from outpace.speculate import AutoDepth, Draft, StepCosts
from outpace.speculate.calibration import CLASSES, HOPELESS, Calibration
from outpace.speculate.rule import Rule


def learned(seed: int) -> Calibration:
    rng, calibration = np.random.default_rng(seed), Calibration()
    for said in rng.uniform(0, 1, 80):
        calibration.observe([said], 1, int(rng.uniform() < said**2))
    return calibration


@pytest.mark.parametrize("seed", range(20))
def test_a_guess_is_worth_what_the_calibration_says(seed):
    calibration, rng = learned(seed), np.random.default_rng(seed)
    chances = [rng.uniform(0.8, 1, rng.integers(1, 4)).tolist() for _ in range(3)]
    n = max(map(len, chances))
    worths = [calibration.worths(each, 9, 0.0) for each in chances]
    together = sum(worth[-1] for worth in worths if len(worth) == n)
    shifts = calibration.shifts()
    assert all(worth[-1] >= HOPELESS for worth in worths)
    for least, expected in ((together * 0.999, True), (together * 1.001, False)):
        assert Rule([math.inf] * (n - 1) + [least], shifts).goes_on(chances) == expected


def test_certainty_has_a_class():
    assert Rule([0.5]).goes_on([[1.0]]) and not Rule([0.5], [0.0] * CLASSES + [-0.6]).goes_on([[1.0]])


def test_no_guess_is_surer_than_the_surest_or_worth_less_than_nothing():
    up, down = [0.5] * (CLASSES + 1), [-0.5] * (CLASSES + 1)
    assert not Rule([0.9], up, surest=0.9).goes_on([[0.95]]) and Rule([0.89], up, surest=0.9).goes_on([[0.95]])
    assert not Rule([0.0], down).goes_on([[0.3]])


def test_an_unlikely_guess_ends_a_draft_and_no_rule_goes_beyond_its_end():
    assert Rule([0.0, 0.0], p_min=0.3).goes_on([[0.9, 0.3]]) and not Rule([0.0, 0.0], p_min=0.31).goes_on([[0.9, 0.3]])
    assert Rule([0.0]).goes_on([[0.9]]) and not Rule([0.0]).goes_on([[0.9, 0.9]])


def test_a_dear_step_asks_for_more_than_a_cheap_one():
    least = {}
    for step in (0.05, 0.5):
        policy = AutoDepth(StepCosts({1: 1.0, 2: 1.1, 4: 1.3, 8: 1.8, 16: 3.0}), 4)
        policy.drafted([(1, step)], 0.0)
        for _ in range(3):
            policy.ahead([Draft()], [True], 1, 100)
            policy.drafted([(1, step)], 0.0)
        least[step] = policy._new_rule().least
    assert len(least[0.05]) == 3
    assert all(cheap < dear for cheap, dear in zip(least[0.05], least[0.5], strict=True))
