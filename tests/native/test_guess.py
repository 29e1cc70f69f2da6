"""A guess from the logits of some tokens is what a row with every other token masked gives, bit for bit."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.sampling import OPEN, requests

from outpace import _native
from outpace.errors import BackendError, RequestError
from outpace.sampling import Sampler, SamplingParams
from outpace.speculate.vocabulary import FREE, HIGH, DraftVocabulary, size

TIERS = _native.supported_tiers()


@st.composite
def some_tokens(draw, n):
    """Some of n tokens, none twice: a front in order, then others in any."""
    front = draw(st.one_of(st.just(0), st.integers(0, n), st.just(n)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rest = front + rng.permutation(n - front)[: draw(st.integers(0, n - front))]
    tokens = np.concatenate([np.arange(front), rest]).astype(np.int32)
    return tokens if len(tokens) else np.zeros(1, np.int32)


def widened(logits, tokens, n):
    wide = np.full(n, -np.inf, np.float32)
    wide[tokens] = logits
    return wide


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_choosing_from_some_tokens_is_choosing_with_the_others_masked(data):
    params, row, position, recent = data.draw(requests())
    n = len(row)
    tokens = data.draw(some_tokens(n))
    logits = row[tokens]
    expected = Sampler(params, n, reference=True).guess(logits, tokens, position, recent)
    for tier in TIERS:
        sampler = Sampler(params, n, tier=tier)
        assert sampler.guess(logits, tokens, position, recent) == expected, tier
        try:
            chosen = sampler.choose(widened(logits, tokens, n), position, recent)
        except RequestError:
            assert expected is None
        else:
            assert expected is not None and expected[0] == chosen, tier
        assert sampler.guess(row, None, position, recent) == sampler.guess(
            row, np.arange(n, dtype=np.int32), position, recent
        )


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams.greedy(),
        SamplingParams(),
        SamplingParams(**OPEN),
        SamplingParams(top_k=30000),
        SamplingParams(**OPEN | {"top_p": 0.95}),
        SamplingParams(**OPEN | {"typical_p": 0.9}),
        SamplingParams(repeat_penalty=1.3, repeat_last_n=-1, logit_bias=((70, 3.0), (59000, 8.0), (45000, -math.inf))),
    ],
    ids=str,
)
def test_from_the_rows_of_a_draft_head(tier, params):
    n, rng = 60000, np.random.default_rng(1)
    vocabulary = DraftVocabulary(n, lambda at, tokens: None)
    sampler, recent = Sampler(params, n, tier=tier), []
    for position in range(6):
        recent += rng.integers(0, n, 300).tolist()
        vocabulary.see(recent[-300:])
        tokens = vocabulary.tokens
        assert len(tokens) <= size(n)
        logits = (rng.normal(size=len(tokens)) * rng.choice([0.5, 3.0])).astype(np.float32)
        if position % 2:
            # Ties, also between rows whose tokens are not in order.
            logits[rng.integers(size(n) - FREE - HIGH - 50, len(tokens), 20)] = logits.max() + 1
        token, chance = sampler.guess(logits, tokens, position, recent)
        assert token == sampler.choose(widened(logits, tokens, n), position, recent)
        x = logits.astype(np.float64)
        share = np.exp(x - x.max())[tokens == token] / np.exp(x - x.max()).sum()
        assert chance == pytest.approx(share.item(), rel=1e-5)


@pytest.mark.parametrize("reference", [False, True])
def test_no_token_left_is_no_guess_and_nan_is_an_error(reference):
    tokens = np.array([0, 1, 40, 30], np.int32)
    forbidding = SamplingParams(logit_bias=tuple((int(token), -math.inf) for token in tokens))
    sampler = Sampler(forbidding, 50, reference=reference)
    assert sampler.guess(np.zeros(4, np.float32), tokens, 7) is None
    assert sampler.choose(np.zeros(50, np.float32), 7) not in tokens
    sampler = Sampler(SamplingParams(repeat_penalty=1.1), 50, reference=reference)
    assert sampler.guess(np.full(4, -np.inf, np.float32), tokens, 7) is None
    logits = np.array([0, 1, np.nan, 2], np.float32)
    with pytest.raises(BackendError, match=r"NaN for 1 of 50 logits at position 7 \(the first is token 40"):
        sampler.guess(logits, tokens, 7)
    with pytest.raises(RequestError, match="recent holds token 50"):
        sampler.guess(np.zeros(4, np.float32), tokens, 7, [50])


def test_infinity_has_no_share_and_ties_go_to_the_lowest_token():
    tokens = np.array([0, 1, 40, 30], np.int32)
    for reference in (False, True):
        sampler = Sampler(SamplingParams.greedy(), 50, reference=reference)
        assert sampler.guess(np.array([0, 1, np.inf, np.inf], np.float32), tokens, 7) == (30, 0.0)
        assert sampler.guess(np.array([0, 2, 5, 5], np.float32), tokens, 7)[0] == 30


def test_what_does_not_fit_is_refused():
    sampler, tokens = Sampler(SamplingParams(**OPEN), 50), np.array([0, 1, 2, 50], np.int32)
    with pytest.raises(ValueError, match="logits have 3 values for 4 tokens"):
        sampler.guess(np.zeros(3, np.float32), tokens, 0)
    with pytest.raises(ValueError, match="logits have 4 values for 50 tokens"):
        sampler.guess(np.zeros(4, np.float32), None, 0)
    with pytest.raises(ValueError, match="for 0 tokens"):
        sampler.guess(np.zeros(0, np.float32), tokens[:0], 0)
    for each in (Sampler(SamplingParams(**OPEN), 50), Sampler(SamplingParams.greedy(), 50)):
        with pytest.raises(ValueError, match="out of range"):
            each.guess(np.array([0, 0, 0, 90], np.float32), tokens, 0)
    with pytest.raises(TypeError):
        sampler.guess(np.zeros(4, np.float32), tokens.astype(np.int64), 0)
