"""What is sampled follows the distribution that the settings define, enumerated in plain Python and float64."""

from collections import Counter

import numpy as np
import pytest
from tests.support.sampling import CASES, LOGITS, OPEN, RECENT, assert_follows, enumerate_exactly

from outpace.sampling import Sampler, SamplingParams

N = 600


@pytest.mark.parametrize(
    "settings",
    CASES,
    ids=str,
)
@pytest.mark.parametrize("by", ["position", "seed"])
def test_samples_follow_the_exact_distribution(settings, by):
    logits = np.array(LOGITS, np.float32)
    counts: Counter[int] = Counter()
    if by == "position":
        sampler = Sampler(SamplingParams(**OPEN | settings, seed=99), len(LOGITS), reference=True)
        counts.update(sampler.choose(logits, p, RECENT) for p in range(N))
    else:
        for seed in range(N // 4):
            params = SamplingParams(**OPEN | settings, seed=seed)
            counts[Sampler(params, len(LOGITS), reference=True).choose(logits, 7, RECENT)] += 1
    assert_follows(counts, enumerate_exactly(SamplingParams(**OPEN | settings)), counts.total())


def test_the_test_can_fail():
    counts = Counter({0: 550, 1: 450})
    with pytest.raises(AssertionError):
        assert_follows(counts, {0: 0.45, 1: 0.55}, 1000)


def test_positions_are_independent_of_each_other():
    """Pairs of neighbouring positions fill the product distribution."""
    logits = np.array([1.0, 0.3, -0.5], np.float32)
    sampler = Sampler(SamplingParams(**OPEN, seed=3), 3, reference=True)
    tokens = [sampler.choose(logits, p) for p in range(2 * N)]
    q = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum()
    pairs = Counter(zip(tokens[::2], tokens[1::2], strict=True))
    assert_follows(pairs, {(a, b): q[a] * q[b] for a in range(3) for b in range(3)}, N)


def test_the_same_noise_couples_two_close_models():
    """A drafter with nearly the same logits mostly proposes the same token: the point of the shared key."""
    rng = np.random.default_rng(0)
    sampler = Sampler(SamplingParams(**OPEN), 50, reference=True)
    agreed, overlap = 0, 0.0
    for position in range(400):
        target = (rng.normal(size=50) * 2).astype(np.float32)
        draft = target + (rng.normal(size=50) * 0.3).astype(np.float32)
        agreed += sampler.choose(target, position) == sampler.choose(draft, position)
        p, q = (np.exp(x.astype(float)) / np.exp(x.astype(float)).sum() for x in (target, draft))
        overlap += np.minimum(p, q).sum()
    assert 0.8 * overlap < agreed <= 400  # `overlap` is the best any coupling could do
