"""The policy finds the depth that pays, and never one that loses, in simulations with known costs and chances."""

import random

import pytest

from outpace.speculate import AutoDepth, Draft, FixedDepth, StepCosts
from outpace.speculate.calibration import Calibration
from outpace.speculate.prospect import Prospect

CHEAP = {1: 1.0, 2: 1.03, 4: 1.1, 8: 1.6, 16: 3.0}
DEAR = {1: 1.0, 2: 1.65, 4: 2.5, 8: 4.0, 16: 7.2}


def rate(costs: StepCosts, chance: float, n: int) -> float:
    return sum(chance**i for i in range(n + 1)) / costs.ratio(1 + n)


def simulate(
    policy, real: StepCosts, chance: float, says: float, rounds: int, seed: int = 1
) -> tuple[float, list[int]]:
    """Return tokens for each plain step's time over the last half of the rounds, and the depths."""
    random_ = random.Random(seed)
    tokens = time = 0.0
    depths = []
    for i in range(rounds):
        draft = Draft([0] * policy.n_max, [says] * policy.n_max)
        (n,) = policy.choose([draft], 1, 100)
        kept = next((j for j in range(n) if random_.random() >= chance), n)
        if n:
            policy.observe(Draft(draft.tokens[:n], draft.confidence[:n]), n, kept)
        seconds = real.ratio(1 + n) * random_.uniform(0.85, 1.15) * (5 if random_.random() < 0.01 else 1)
        policy.timed(1 + n, n, kept, seconds)
        depths.append(n)
        if i >= rounds // 2:
            tokens += kept + 1
            time += real.ratio(1 + n)
    return tokens / time, depths


@pytest.mark.parametrize("curve", [CHEAP, DEAR], ids=["cheap", "dear"])
@pytest.mark.parametrize("chance", [0.05, 0.3, 0.5, 0.7, 0.9, 0.97])
@pytest.mark.parametrize("says", [0.3, 0.95])
def test_finds_the_winning_depth_whatever_the_drafter_says(curve, chance, says):
    real = StepCosts(curve)
    best = max(rate(real, chance, n) for n in range(16))
    found = [simulate(AutoDepth(StepCosts(curve), 15), real, chance, says, 2500, seed)[0] for seed in range(4)]
    assert sum(found) / len(found) > 0.93 * best
    assert min(found) > 0.985, "slower than plain decoding"


@pytest.mark.parametrize("chance", [0.0, 0.2, 0.6, 0.95])
def test_wrong_start_up_costs_are_unlearned(chance):
    real = StepCosts(DEAR)
    best = max(rate(real, chance, n) for n in range(16))
    found, _ = simulate(AutoDepth(StepCosts(CHEAP), 15), real, chance, chance, 2500)
    assert found > 0.9 * best
    assert found > 0.98


@pytest.mark.parametrize(("says", "chance"), [(0.002, 0.72), (0.95, 0.2)])
def test_what_a_confidence_is_worth_is_known_after_a_few_guesses(says, chance):
    calibration, n = Calibration(), 25
    for i in range(n):
        calibration.observe([says], 1, int(i % n < chance * n))
    (worth,) = calibration.worths([says], 1, 0.0)
    assert abs(worth - chance) < 0.12
    # What was seen of one class is expected of those that were not.
    (other,) = calibration.worths([0.5], 1, 0.0)
    assert (other > 0.9) if says < chance else (other < 0.1)


def test_a_hopeless_drafter_goes_quiet_but_is_asked_again():
    _, depths = simulate(AutoDepth(StepCosts(DEAR), 15), StepCosts(DEAR), 0.0, 0.3, 2000)
    tried = sum(depths[1000:])
    assert 0 < tried <= 0.01 * 1000 / 0.65 + 3


def test_a_drafter_that_gets_better_is_noticed():
    policy, real = AutoDepth(StepCosts(DEAR), 15), StepCosts(DEAR)
    simulate(policy, real, 0.0, 0.5, 500)
    found, _ = simulate(policy, real, 0.95, 0.5, 4000)
    assert found > 0.9 * max(rate(real, 0.95, n) for n in range(16))


def test_a_batch_goes_on_drafting():
    policy, real = AutoDepth(StepCosts(CHEAP), 4), StepCosts(CHEAP)
    drafts = [Draft([1] * 4, [0.95] * 4)] * 3
    n_plain = 0
    for _ in range(500):
        n = sum(policy.choose(drafts, 3, 100))
        n_plain += n == 0
        policy.timed(3 + n, n, n, real.ratio(3 + n))
    assert 0 < n_plain < 25


def test_costs_are_measured_when_there_is_a_first_draft_to_judge():
    answers = [None, StepCosts(CHEAP)]
    policy = AutoDepth(StepCosts(DEAR), 8, measure=lambda: answers.pop(0))
    sure = Draft([1] * 8, [0.95] * 8)
    assert policy.choose([Draft()], 1, 100) == [0]
    assert len(answers) == 2  # no draft, no question
    assert policy.choose([sure], 1, 100) == AutoDepth(StepCosts(DEAR), 8).choose([sure], 1, 100)
    expected = AutoDepth(StepCosts(CHEAP), 8).choose([sure], 1, 100)
    assert policy.choose([sure], 1, 100) == expected != [0]
    assert policy.choose([sure], 1, 100) == expected  # nor ever again
    # The round in which it was measured took as long as that; the next is a step like any other.
    before = policy.costs(9)
    policy.timed(9, 8, 8, 1000.0)
    assert policy.costs(9) == before
    policy.timed(9, 8, 8, 1000.0)
    assert policy.costs(9) > before


def test_rows_go_to_the_likelier_of_two_drafts():
    policy = AutoDepth(StepCosts(CHEAP), 8)
    sure, unsure = Draft([1] * 8, [0.95] * 8), Draft([1] * 8, [0.1] * 8)
    n_unsure, n_sure = policy.choose([unsure, sure], 2, 100)
    assert n_sure > n_unsure
    assert policy.choose([sure, sure], 2, 3) in ([2, 1], [1, 2])


def test_rows_of_a_prompt_are_not_the_drafts_to_pay():
    # Beside 400 rows of a prompt a draft costs its own rows only: as much as on top of the last measured width.
    costs = StepCosts(CHEAP)
    sure = Draft([1] * 8, [0.97] * 8)
    (n,) = AutoDepth(costs, 8).choose([sure], 401, 100)
    assert n > 0
    (n,) = AutoDepth(StepCosts({1: 1.0, 2: 2.5, 4: 5.0, 8: 10.0, 16: 20.0}), 8).choose([sure], 401, 100)
    assert n == 0


def test_limits_of_the_user_and_of_the_step():
    draft = Draft([1] * 8, [0.99, 0.99, 0.99, 0.3, 0.99, 0.99, 0.99, 0.99])
    costs = StepCosts({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0, 16: 1.0})
    assert AutoDepth(costs, 2).choose([draft], 1, 100) == [2]
    assert AutoDepth(costs, 8, p_min=0.5).choose([draft], 1, 100) == [3]
    assert AutoDepth(costs, 8, p_min=0.5, n_min=4).choose([draft], 1, 100) == [0]
    assert AutoDepth(costs, 8).choose([draft], 1, 1) == [1]
    assert AutoDepth(costs, 8).choose([draft], 1, 0) == [0]
    assert AutoDepth(costs, 0).choose([draft], 1, 100) == [0]
    assert AutoDepth(costs, 8).choose([Draft()], 1, 100) == [0]


def test_fixed_depth_takes_what_there_is():
    policy = FixedDepth(3)
    assert policy.choose([Draft([1] * 5, [0.0] * 5), Draft([1], [0.0]), Draft()], 3, 100) == [3, 1, 0]
    assert policy.choose([Draft([1] * 5, [0.0] * 5), Draft([1] * 5, [0.0] * 5)], 2, 4) == [3, 1]


def let_draft(policy, n_rows: int = 1) -> int:
    """Ask as the engine does how much the head may draft for one sequence."""
    return 0 if policy.rests(n_rows) else policy.ahead([Draft()], [True], n_rows, 100)[0]


def test_a_head_that_copies_have_beaten_is_asked_again_at_once():
    policy = AutoDepth(StepCosts(CHEAP), 4)
    policy.drafted([(1, 0.9)], 0.0)
    assert policy.ahead([Draft([1] * 4, [0.99] * 4, "suffix")], [True], 1, 100) == [0]
    assert not policy.rests(1)


def test_a_head_that_does_not_pay_is_seldom_judged_and_still_tried_again():
    policy, judged = AutoDepth(StepCosts(DEAR), 8), 0

    def measure():
        nonlocal judged
        judged += 1

    policy._measure = measure  # asked whenever there is something to judge
    policy.drafted([(1, 0.9)], 0.0)  # a step of the head is almost a plain one
    rounds, tried = 4000, 0
    for _ in range(rounds):
        n = let_draft(policy)
        tried += n > 0
        if n:
            policy.drafted([(1, 0.9)], 0.0)
            policy.observe(Draft([1], [0.1], "mtp"), 1, 0)
        policy.timed(1, 0, 0, 1.0)
    assert 0 < tried <= 0.01 * rounds
    assert judged < rounds / 10


@pytest.mark.parametrize("reads", [0.0, 10.0])
def test_what_is_read_before_a_trial_is_a_part_of_its_price(reads):
    """Each answer begins with a text that has to be read before anything can be guessed from it."""
    policy = AutoDepth(StepCosts(DEAR), 8)
    policy.drafted([(1, 0.9)], 0.0)
    spent, rounds, tried = 0.0, 8000, 0
    for i in range(rounds):
        if i % 100 == 0:
            has_read = False
        n = let_draft(policy)
        if n:
            tried += 1
            read_s, has_read = 0.0 if has_read else reads, True
            spent += 0.9 + read_s
            policy.drafted([(1, 0.9)], read_s)
            policy.observe(Draft([1], [0.1], "mtp"), 1, 0)
        policy.timed(1, 0, 0, 1.0)
    # Before it is known that the head does not pay it is tried as if it did.
    assert tried > 0 and spent < 0.005 * rounds + 20 + reads, (tried, spent)


def test_what_was_only_read_warms_no_step():
    policy = AutoDepth(StepCosts(CHEAP), 8)
    policy.prospect.timed(1, 0.1)
    for steps in ([], [(1, 0.3)]):
        policy.ahead([Draft()], [True], 1, 100)
        policy.drafted(steps, 5.0)
    # The step that took so long was the first: it tells nothing of one that follows another.
    assert policy.prospect.seconds(1, 1.0) == 0.1


def test_the_head_is_asked_again_when_it_was_refused_for_the_number_of_rows():
    policy = AutoDepth(StepCosts({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0, 16: 9.0}), 4)
    assert let_draft(policy, n_rows=15) == 0 and policy.rests(15)
    assert let_draft(policy) == 4


def head_rounds(policy, chances, slope: float, step: float, seed: int) -> list[tuple[float, float]]:
    """Let a head draft: for each round the tokens to be expected and its time, in plain steps.

    Args:
        policy: Who decides.
        chances: For each round the chance of a guess, given that those before it are right, and what the head says.
        slope: What a row costs more.
        step: What a step of the head costs.
        seed: Of what happens.
    """
    random_, rounds = random.Random(seed), []
    for chance in chances:
        guesses = []
        if let_draft(policy):
            rule, guesses = policy.rule(), [chance]
            while len(guesses) < 8 and rule.goes_on([guesses]):
                guesses.append(chance)
            policy.drafted([(1, step * random_.uniform(0.9, 1.1)) for _ in guesses], 0.0)
        draft = Draft([0] * len(guesses), guesses, "mtp")
        (n,) = policy.choose([draft], 1, 100) if guesses else (0,)
        kept = next((j for j in range(n) if random_.random() >= chance), n)
        if n:
            policy.observe(Draft(draft.tokens[:n], draft.confidence[:n], "mtp"), n, kept)
        elif guesses:
            policy.observe(Draft([0], [chance], "mtp"), 1, int(random_.random() < chance))
        policy.timed(1 + n, n, kept, (1 + slope * n) * random_.uniform(0.9, 1.1))
        rounds.append((sum(chance**j for j in range(n + 1)), 1 + slope * n + step * len(guesses)))
    return rounds


def speed(rounds) -> float:
    tokens, times = zip(*rounds, strict=True)
    return sum(tokens) / sum(times)


@pytest.mark.parametrize("chance", [0.1, 0.4, 0.8])
def test_costs_measured_while_the_machine_was_busy_do_not_last(chance):
    """Three times too slow at every width; head and verification are then believed to cost next to nothing."""
    slope, step, rounds = 0.15, 0.15, []
    for seed in range(8):
        policy = AutoDepth(StepCosts({width: 3 * (1 + slope * (width - 1)) for width in (1, 2, 4, 8, 16)}), 8)
        rounds += head_rounds(policy, [chance] * 100, slope, step, seed)[25:]
    best = max(sum(chance**j for j in range(n + 1)) / (1 + (slope + step) * n) for n in range(9))
    assert speed(rounds) > 0.96 * best


@pytest.mark.parametrize(
    ("sure", "unsure", "slope", "step"),
    [(0.9, 0.4, 0.2, 0.3), (0.95, 0.1, 0.3, 0.1)],
    ids=["rounds are better than others", "every other guess is hopeless"],
)
def test_guesses_of_two_kinds_are_used_as_is_best_for_both_together(sure, unsure, slope, step):
    """The first guess is made before it is known which kind it is; the best numbers of both are found by trying all."""
    random_ = random.Random(0)
    chances = [random_.choice((sure, unsure)) for _ in range(6000)]
    policy = AutoDepth(StepCosts({width: 1 + slope * (width - 1) for width in (1, 2, 4, 8, 16)}), 8)

    def together(n_sure: int, n_unsure: int) -> float:
        tokens = sum(sure**j for j in range(n_sure + 1)) + sum(unsure**j for j in range(n_unsure + 1))
        return tokens / (2 + slope * (n_sure + n_unsure) + step * (max(n_sure, 1) + max(n_unsure, 1)))

    best = max(together(i, j) for i in range(9) for j in range(9))
    assert speed(head_rounds(policy, chances, slope, step, 0)[1000:]) > 0.96 * best


def test_a_head_that_was_at_rest_is_not_taken_for_a_dear_one():
    """Its first step after a while reads its weights from memory; what it costs in use is another thing."""
    prospect = Prospect()
    prospect.timed(1, 0.1)
    for _ in range(50):
        prospect.timed(1, 0.3, is_cold=True)
    assert prospect.seconds(1, 1.0) == 0.1
    prospect.timed(1, 0.08, is_cold=True)
    assert prospect.seconds(1, 1.0) == 0.08
    for _ in range(60):
        prospect.timed(1, 0.15)
    assert abs(prospect.seconds(1, 1.0) - 0.15) < 0.01


def test_a_head_that_was_refused_for_a_while_comes_back():
    policy, cold = AutoDepth(StepCosts(CHEAP), 4), 0.6
    drafted, was_drafting = [], False
    for i in range(3000):
        chance = 0.05 if 500 <= i < 1500 else 0.7
        n = let_draft(policy)
        if n:
            policy.drafted([(1, 0.1 if was_drafting else cold)], 0.0)
            policy.choose([Draft([0], [chance], "mtp")], 1, 100)
            right = int(random.Random(i).random() < chance)
            policy.observe(Draft([0], [chance], "mtp"), 1, right)
        policy.timed(1 + (n > 0), int(n > 0), right if n else 0, 1.03 if n else 1.0)
        was_drafting = n > 0
        drafted.append(n > 0)
    assert sum(drafted[100:500]) > 350
    assert sum(drafted[1000:1500]) < 50
    assert sum(drafted[2500:]) > 400
