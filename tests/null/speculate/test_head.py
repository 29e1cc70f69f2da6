"""A head guesses for several sequences together; one for which it has no guess stops, the others go on."""

from array import array

import numpy as np

from outpace.graph.step import StepResult
from outpace.sampling import Sampler, SamplingParams
from outpace.speculate import FixedDepth
from outpace.speculate.mtp import Head, HeadState
from outpace.speculate.speculator import Ask

V, D, MASKED = 20, 4, 13
EVER = FixedDepth(8).rule()


class Successor:
    """A draft program that expects each token to be followed by the next number, and nothing after one of them."""

    native = None

    def __init__(self, passes=lambda seconds: None) -> None:
        self.shown: list[list[int]] = []
        self.caught_up, self.passes = 0, passes

    def run(self, step):
        self.passes(1.0)
        self.shown.append(list(step.tokens))
        logits = np.full((len(step.wanted), V), -1.0, np.float32)
        for row, i in zip(logits, step.wanted, strict=True):
            row[(step.tokens[i] + 1) % V] = 3.0
            if step.tokens[i] == MASKED:
                row[:] = -np.inf
        return StepResult(logits, np.zeros((len(step.exported), D), np.float32))

    def catch_up(self, step):
        self.caught_up += len(step.tokens)
        self.passes(100.0)

    def take_rows(self, at, tokens):
        raise AssertionError("the vocabulary is small")


def ask(last: int, most: int, params: SamplingParams) -> Ask:
    state = HeadState(2, D)
    state.learn(0, np.ones((2, D), np.float32))
    sampler = Sampler(params, V, reference=True)
    return Ask(
        state, [5, 6, last], array("i", [0]), most, lambda logits, tokens, guesses: sampler.guess(logits, tokens, 3)
    )


def test_each_guesses_as_far_as_it_may_and_can():
    program = Successor()
    head = Head(program, D, 64, V)
    greedy = SamplingParams.greedy()
    asks = [ask(1, 3, greedy), ask(MASKED - 1, 3, greedy), ask(MASKED, 3, greedy), ask(7, 1, greedy)]
    drafts = head.draft(asks, EVER).drafts
    assert [list(draft.tokens) for draft in drafts] == [[2, 3, 4], [MASKED], [], [8]]
    assert [len(draft.confidence) for draft in drafts] == [3, 1, 0, 1]
    share = np.exp(4.0) / (np.exp(4.0) + V - 1)
    np.testing.assert_allclose([chance for draft in drafts for chance in draft.confidence], share, rtol=1e-6)
    assert [len(tokens) for tokens in program.shown] == [12, 2, 1]


def test_nobody_who_can_guess_ends_it():
    program = Successor()
    drafts = Head(program, D, 64, V).draft([ask(MASKED, 3, SamplingParams.greedy())], EVER).drafts
    assert [draft.tokens for draft in drafts] == [()] and len(program.shown) == 1


def test_catching_up_is_no_part_of_what_a_guess_costs(monkeypatch):
    now = 0.0

    def passes(seconds):
        nonlocal now
        now += seconds

    monkeypatch.setattr("outpace.speculate.guesses.perf_counter", lambda: now)
    program = Successor(passes)
    given = ask(1, 2, SamplingParams.greedy())
    given.state.learn(2, np.ones((30, D), np.float32))
    given = given._replace(tokens=[5] * 32 + [1])
    found = Head(program, D, 64, V).draft([given], EVER)
    assert program.caught_up == 32 and found.steps == [(1, 1.0), (1, 1.0)] and found.read_s == 100.0
    assert found.seconds == 102.0
