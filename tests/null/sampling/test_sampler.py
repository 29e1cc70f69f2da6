"""The sampler of one request: pure, exact about ties and masks, clear about rows without a token."""

import math

import numpy as np
import pytest

from outpace.errors import BackendError, RequestError
from outpace.sampling import Sampler, SamplingParams

OPEN = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
KINDS = [
    SamplingParams.greedy(),
    SamplingParams(),
    SamplingParams(**OPEN),
    SamplingParams(**OPEN | {"typical_p": 0.9}),
    SamplingParams(**OPEN | {"top_p": 0.9}),
    SamplingParams(**OPEN | {"top_k": 1000}),
]
INF = math.inf


def row(*logits):
    return np.array(logits, np.float32)


def twin(params, n_vocab):
    return Sampler(params, n_vocab, reference=True)


@pytest.mark.parametrize("params", KINDS)
def test_a_call_may_be_repeated(params):
    logits = np.random.default_rng(0).normal(size=100).astype(np.float32)
    sampler = twin(params, 100)
    first = [sampler.choose(logits, p) for p in range(50)]
    assert [sampler.choose(logits, p) for p in reversed(range(50))] == first[::-1]
    assert [twin(params, 100).choose(logits, p) for p in range(50)] == first


def test_seed_and_position_decide():
    logits = np.zeros(1000, np.float32)
    picks = [[twin(SamplingParams(**OPEN, seed=s), 1000).choose(logits, p) for p in range(20)] for s in range(3)]
    assert len({tuple(p) for p in picks}) == 3
    assert all(len(set(p)) > 15 for p in picks)


def test_removing_other_tokens_keeps_the_choice():
    rng = np.random.default_rng(1)
    sampler = twin(SamplingParams(**OPEN), 200)
    for position in range(50):
        logits = rng.normal(size=200).astype(np.float32)
        token = sampler.choose(logits, position)
        fewer = np.where(rng.random(200) < 0.5, logits, np.float32(-INF))
        fewer[token] = logits[token]
        assert sampler.choose(fewer, position) == token


@pytest.mark.parametrize("params", KINDS)
def test_one_token_left_is_the_choice(params):
    assert twin(params, 1).choose(row(-3), 5) == 0
    assert twin(params, 4).choose(row(-INF, -INF, -1e30, -INF), 5) == 2


@pytest.mark.parametrize("params", KINDS)
def test_infinity_wins_and_ties_go_to_the_lowest_id(params):
    assert twin(params, 4).choose(row(1e30, INF, 2, INF), 0) == 1


def test_greedy_ties_go_to_the_lowest_id():
    assert twin(SamplingParams.greedy(), 5).choose(row(1, 2, 2, -0.0, 2), 0) == 1
    assert twin(SamplingParams.greedy(), 3).choose(row(-0.0, 0.0, -1), 0) == 0


def test_a_forbidden_token_is_not_chosen_even_at_infinity():
    params = SamplingParams(temperature=0, logit_bias=((1, -INF),))
    assert twin(params, 3).choose(row(0, INF, 1), 0) == 2


@pytest.mark.parametrize("params", KINDS)
def test_nan_is_an_error_that_says_where(params):
    with pytest.raises(BackendError, match=r"NaN for 2 of 4 logits at position 9 \(the first is token 1"):
        twin(params, 4).choose(row(1, math.nan, INF, math.nan), 9)


@pytest.mark.parametrize("params", KINDS)
def test_no_token_left_is_an_error(params):
    with pytest.raises(RequestError, match="no token is allowed at position 9"):
        twin(params, 2).choose(row(-INF, -INF), 9)


def test_another_shape_or_type_is_refused():
    with pytest.raises(ValueError, match="expected float32"):
        twin(SamplingParams(), 3).choose(row(1, 2), 0)
    with pytest.raises(ValueError, match="expected float32"):
        twin(SamplingParams(), 2).choose(np.zeros(2), 0)


def test_history_is_read_only_for_penalties():
    logits = row(3, 2, 1)
    assert twin(SamplingParams.greedy(), 3).choose(logits, 0, [0, 99]) == 0
    harsh = SamplingParams(temperature=0, presence_penalty=1.5, repeat_last_n=2)
    assert twin(harsh, 3).choose(logits, 0, [0]) == 1
    assert twin(harsh, 3).choose(logits, 0, [0, 2, 2]) == 0
    with pytest.raises(RequestError, match="recent holds token 99"):
        twin(harsh, 3).choose(logits, 0, [99])


def log_softmax(logits):
    x = logits.astype(np.float64)
    return x - x.max() - np.log(np.exp(x - x.max()).sum())


@pytest.mark.parametrize("n", [1, 5, 16, 17, 1000, 5000])
def test_logprobs_are_of_the_raw_logits(n):
    logits = (np.random.default_rng(n).normal(size=n) * 4).astype(np.float32)
    logits[n // 2] = logits.max()
    params = SamplingParams(temperature=1.5, top_k=3, repeat_penalty=1.3, logit_bias=((0, 5.0),), logprobs=7)
    choice = twin(params, n).choose_with_logprobs(logits, 4, [0])
    exact = log_softmax(logits)
    assert choice.token == twin(params, n).choose(logits, 4, [0])
    assert choice.logprob == pytest.approx(exact[choice.token], abs=2e-6)
    assert [i for i, _ in choice.top] == sorted(range(n), key=lambda i: (-logits[i], i))[:7]
    assert [p for _, p in choice.top] == pytest.approx([exact[i] for i, _ in choice.top], abs=2e-6)


def test_logprobs_of_masked_and_infinite_logits():
    params = SamplingParams(temperature=0, logprobs=3)
    assert twin(params, 3).choose_with_logprobs(row(-INF, 2, -INF), 0).top == ((1, 0.0), (0, -INF), (2, -INF))
    infinite = twin(params, 3).choose_with_logprobs(row(INF, 2, INF), 0)
    assert infinite.logprob == pytest.approx(math.log(0.5))
    assert infinite.top[2] == (1, -INF)


@pytest.mark.parametrize("logprobs", [None, 0])
def test_no_alternatives_unless_asked(logprobs):
    choice = twin(SamplingParams(logprobs=logprobs), 2).choose_with_logprobs(row(0, 0), 0)
    assert choice.top == ()
    assert choice.logprob == pytest.approx(math.log(0.5))
