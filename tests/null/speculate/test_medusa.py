"""Medusa heads guess for several sequences together, each depth with its own head, from the last hidden state alone."""

from array import array

import numpy as np

from outpace.graph.step import StepResult
from outpace.sampling import Sampler, SamplingParams
from outpace.speculate import FixedDepth
from outpace.speculate.medusa import Medusa, MedusaState
from outpace.speculate.rule import Rule
from outpace.speculate.speculator import Ask

V, D, K, MASKED = 20, 4, 3, 13
EVER = FixedDepth(8).rule()


class Counter:
    """Heads that read a number in a hidden state: head i expects that number and i + 2 more, and none after MASKED."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, int]] = []

    def run(self, step, head=0):
        self.shown.append((head, len(step.wanted)))
        logits = np.full((len(step.wanted), V), -1.0, np.float32)
        for row, state in zip(logits, step.hidden, strict=True):
            expected = int(state[0]) + head + 2
            row[expected % V] = 3.0
            if expected > MASKED:
                row[:] = -np.inf
        return StepResult(logits)

    def take_rows(self, at, tokens):
        raise AssertionError("the vocabulary is small")


def ask(last: int, most: int) -> Ask:
    state = Medusa(Counter(), K, V).state(2)
    state.learn(0, np.array([[99.0] * D, [float(last - 1)] * D], np.float32))
    sampler = Sampler(SamplingParams.greedy(), V, reference=True)
    guess = lambda logits, tokens, guesses: sampler.guess(logits, tokens, 3 + len(guesses))  # noqa: E731
    return Ask(state, [5, 6, last], array("i", [0]), most, guess)


def test_each_guesses_as_far_as_it_may_and_can():
    program = Counter()
    asks = [ask(1, 9), ask(MASKED - 1, 3), ask(MASKED, 3), ask(7, 1)]
    drafts, steps, _ = Medusa(program, K, V).draft(asks, EVER)
    assert [list(draft.tokens) for draft in drafts] == [[2, 3, 4], [MASKED], [], [8]]
    assert [draft.source for draft in drafts] == ["medusa", "medusa", "", "medusa"]
    assert program.shown == [(0, 4), (1, 2), (2, 1)] and [n for n, _ in steps] == [4, 2, 1]
    share = np.exp(4.0) / (np.exp(4.0) + V - 1)
    np.testing.assert_allclose([chance for draft in drafts for chance in draft.confidence], share, rtol=1e-6)


def test_it_stops_where_a_token_more_is_not_worth_its_time():
    program = Counter()
    ((draft,), _, _) = Medusa(program, K, V).draft([ask(1, 9)], Rule([0.0, 1.0, 0.0]))
    assert list(draft.tokens) == [2, 3] and program.shown == [(0, 1), (1, 1)]


def test_what_a_state_knows():
    state = MedusaState(4)
    assert not state.is_ready(0) and state.hidden_from == 3
    state.learn(3, np.ones((1, D), np.float32))
    assert state.is_ready(4) and not state.is_ready(3)
    hidden = np.arange(2.0 * D, dtype=np.float32).reshape(2, D)
    state.learn(4, hidden)
    hidden[:] = 0
    assert state.is_ready(6) and state.last.tolist() == [4, 5, 6, 7]
    # Computed anew from the front, it knows what it is shown last.
    state.learn(3, np.ones((2, D), np.float32))
    assert state.is_ready(5) and not state.is_ready(6)
    state.resume(0, 5, None)
    assert not state.is_ready(5)
