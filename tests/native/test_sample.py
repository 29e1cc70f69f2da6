"""The native sampler gives the twin's tokens and numbers, bit for bit, on every tier this CPU has."""

import math
import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from tests.support.sampling import CASES, LOGITS, OPEN, RECENT, assert_follows, enumerate_exactly, requests

from outpace import _native
from outpace.errors import BackendError, RequestError
from outpace.sampling import Sampler, SamplingParams

TIERS = _native.supported_tiers()


def outcome(sampler, *call):
    try:
        return sampler.choose_with_logprobs(*call)
    except (BackendError, RequestError) as error:
        return type(error), str(error)


@settings(max_examples=200, deadline=None)
@given(request=requests())
def test_native_equals_twin(request):
    params, *call = request
    n = len(call[0])
    expected = outcome(Sampler(params, n, reference=True), *call)
    for tier in TIERS:
        assert outcome(Sampler(params, n, tier=tier), *call) == expected, tier


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("n", [49152, 50001])
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams.greedy(),
        SamplingParams(**OPEN),
        SamplingParams(**OPEN | {"temperature": 3.0}),
        SamplingParams(),
        SamplingParams(top_k=3000),
        SamplingParams(**OPEN | {"top_p": 0.95}),
        SamplingParams(**OPEN | {"min_p": 0.01}),
        SamplingParams(**OPEN | {"typical_p": 0.9}),
    ],
    ids=str,
)
def test_native_equals_twin_on_real_sizes(tier, n, params):
    rng = np.random.default_rng(n)
    native, twin = Sampler(params, n, tier=tier), Sampler(params, n, reference=True)
    for position, spread in enumerate([0.0, 0.1, 1.0, 3.0]):
        logits = (rng.normal(size=n) * spread).astype(np.float32)
        assert native.choose(logits, position) == twin.choose(logits, position)
    assert native.choose_with_logprobs(logits, 9) == twin.choose_with_logprobs(logits, 9)


@pytest.mark.parametrize("settings_", CASES, ids=str)
def test_samples_follow_the_exact_distribution(settings_):
    params = SamplingParams(**OPEN | settings_, seed=5)
    sampler, logits = Sampler(params, len(LOGITS)), np.array(LOGITS, np.float32)
    counts = Counter(sampler.choose(logits, position, RECENT) for position in range(30_000))
    assert_follows(counts, enumerate_exactly(params), 30_000)


@pytest.mark.parametrize("tier", TIERS)
def test_a_flat_row_is_sampled_evenly(tier):
    n = 3000
    sampler = Sampler(SamplingParams(**OPEN), n, tier=tier)
    counts = Counter(sampler.choose(np.zeros(n, np.float32), p) // 100 for p in range(3000))
    assert_follows(counts, dict.fromkeys(range(30), 1 / 30), 3000)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("at", [0, 15, 16, 63, 64, 99])
def test_nan_anywhere_is_found(tier, at):
    logits = np.zeros(100, np.float32)
    logits[at] = np.nan
    with pytest.raises(BackendError, match=f"first is token {at}"):
        Sampler(SamplingParams(), 100, tier=tier).choose(logits, 0)


def test_any_alignment_will_do():
    logits = np.random.default_rng(0).normal(size=2000).astype(np.float32)
    params = SamplingParams(temperature=1.3, top_k=0)
    expected = Sampler(params, 1000, reference=True).choose(logits[7:1007].copy(), 3)
    assert Sampler(params, 1000).choose(logits[7:1007], 3) == expected


def test_the_row_is_left_alone():
    logits = np.random.default_rng(0).normal(size=(3, 500)).astype(np.float32)
    before = logits.copy()
    logits.flags.writeable = False
    params = SamplingParams(repeat_penalty=2.0, logit_bias=((4, -math.inf),), logprobs=3)
    Sampler(params, 500).choose_with_logprobs(logits[1], 0, [1, 2, 3])
    assert np.array_equal(logits, before)


def test_threads_do_not_disturb_each_other():
    rows_ = np.random.default_rng(0).normal(size=(4, 5000)).astype(np.float32)
    sampler = Sampler(SamplingParams(repeat_penalty=1.5, top_k=0), 5000)
    expected = [[sampler.choose(row, p, [p]) for p in range(100)] for row in rows_]
    found: list[list[int]] = [[] for _ in rows_]

    def work(i):
        found[i] = [sampler.choose(rows_[i], p, [p]) for p in range(100)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


@pytest.mark.parametrize("wrong", [np.zeros(10), np.zeros((1, 10), np.float32), np.zeros(20, np.float32)[::2]])
def test_another_kind_of_array_is_refused(wrong):
    with pytest.raises(TypeError):
        Sampler(SamplingParams(), 10).choose(wrong, 0)


def test_another_length_is_refused():
    with pytest.raises(ValueError, match="logits have 9 values; expected 10"):
        Sampler(SamplingParams(), 10).choose(np.zeros(9, np.float32), 0)


def test_an_unknown_tier_is_refused():
    with pytest.raises(ValueError, match="no kernel tier 'abacus'"):
        Sampler(SamplingParams(), 10, tier="abacus")
