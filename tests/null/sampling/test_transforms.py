"""Each transform against its definition in plain Python and float64."""

import itertools
import math

import numpy as np
import pytest

from outpace.errors import RequestError
from outpace.sampling import SamplingParams, transforms


def rows():
    rng = np.random.default_rng(5)
    for n, spread in [(1, 1), (2, 3), (7, 0.5), (30, 2), (30, 6), (200, 1), (200, 4)]:
        for _ in range(12):
            logits = (rng.normal(size=n) * spread).astype(np.float32)
            if rng.random() < 0.3:
                logits[rng.random(n) < 0.3] = -np.inf
            if np.isfinite(logits).any():
                yield logits


def softmax(logits, ids):
    best = max(float(logits[i]) for i in ids)
    terms = {i: math.exp(float(logits[i]) - best) for i in ids}
    total = sum(terms.values())
    return {i: x / total for i, x in terms.items()}


def fewest(order, probability, share):
    """The shortest prefix of `order` that holds `share`, or None where float64 rounding could decide it."""
    total, out = 0.0, set()
    for i in order:
        if abs(total - share) < 1e-6:
            return None
        if total >= share:
            break
        total += probability[i]
        out.add(i)
    return out


def finite(logits):
    return np.flatnonzero(logits > -np.inf)


@pytest.mark.parametrize("k", [0, 1, 3, 40, 1000])
def test_top_k(k):
    for logits in rows():
        ids = finite(logits)
        order = sorted(ids.tolist(), key=lambda i: (-logits[i], i))
        assert set(transforms.top_k(logits, ids, k).tolist()) == set(order[: k or None])


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.95, 1])
def test_top_p(share):
    for logits in rows():
        ids = finite(logits)
        probability = softmax(logits, ids.tolist())
        order = sorted(ids.tolist(), key=lambda i: (-logits[i], i))
        expected = set(order) if share == 1 else fewest(order, probability, share)
        found = transforms.top_p(logits, ids, share).tolist()
        if share == 0:
            expected = {order[0]}  # never nothing
        assert expected is None or set(found) == expected


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 1])
def test_typical_p(share):
    checked = 0
    for logits in rows():
        ids = finite(logits)
        probability = softmax(logits, ids.tolist())
        entropy = -sum(p * math.log(p) for p in probability.values() if p > 0)
        oddness = {i: abs(-math.log(p) - entropy) if p > 0 else math.inf for i, p in probability.items()}
        order = sorted(ids.tolist(), key=lambda i: (oddness[i], i))
        gaps = [oddness[b] - oddness[a] for a, b in itertools.pairwise(order)]
        if share < 1 and gaps and min(gaps) < 2e-4:
            continue  # the engine's entropy is rounded, so near ties may swap
        checked += 1
        expected = set(order) if share == 1 else fewest(order, probability, share)
        assert expected is None or set(transforms.typical_p(logits, ids, share).tolist()) == expected
    assert checked > 20


@pytest.mark.parametrize("fraction", [0, 0.01, 0.05, 0.5, 1])
def test_min_p(fraction):
    for logits in rows():
        ids = finite(logits)
        probability = softmax(logits, ids.tolist())
        best = max(probability.values())
        if any(abs(p / best - fraction) < 1e-6 and p != best for p in probability.values()):
            continue
        expected = {i for i, p in probability.items() if p >= fraction * best * (1 - 1e-9)}
        assert set(transforms.min_p(logits, ids, fraction).tolist()) == expected


def test_bias():
    logits = np.array([1, 2, np.inf, -np.inf, 5], np.float32)
    found = transforms.bias(logits, ((0, 2.5), (2, -math.inf), (3, 100), (4, -math.inf)))
    assert found.tolist() == [3.5, 2, -math.inf, -math.inf, -math.inf]
    assert logits[4] == 5  # the caller's row is left alone


def test_penalties():
    params = SamplingParams(repeat_penalty=2.0, frequency_penalty=0.25, presence_penalty=0.5, repeat_last_n=4)
    logits = np.array([4, -4, 3, 0, 1], np.float32)
    found = transforms.penalties(logits, params, [4, 4, 0, 0, 1, 3])
    assert found.tolist() == [4 / 2 - 0.5 - 0.5, -4 * 2 - 0.25 - 0.5, 3, -0.25 - 0.5, 1]


def test_penalties_over_all_tokens():
    params = SamplingParams(frequency_penalty=1.0, repeat_last_n=-1)
    found = transforms.penalties(np.zeros(3, np.float32), params, [1] * 100 + [2])
    assert found.tolist() == [0, -100, -1]


def test_penalties_refuse_unknown_tokens():
    with pytest.raises(RequestError, match="recent holds token 3; expected 0 to 2"):
        transforms.penalties(np.zeros(3, np.float32), SamplingParams(repeat_penalty=2.0), [1, 3])


def test_nucleus_ties_go_to_the_lowest_id():
    logits = np.zeros(8, np.float32)
    assert sorted(transforms.top_p(logits, np.arange(8), 0.5).tolist()) == [0, 1, 2, 3]
    assert sorted(transforms.top_k(logits, np.arange(8), 3).tolist()) == [0, 1, 2]


def test_filters_see_what_the_one_before_kept():
    # Probabilities 0.4, 0.3, 0.2, 0.1: of the first three, the first two hold 7/9 >= 0.75; of all four they hold 0.7.
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1])).astype(np.float32)
    both = SamplingParams(temperature=1, top_k=3, top_p=0.75, min_p=0)
    alone = SamplingParams(temperature=1, top_k=0, top_p=0.75, min_p=0)
    assert sorted(transforms.kept(logits, both).tolist()) == [0, 1]
    assert sorted(transforms.kept(logits, alone).tolist()) == [0, 1, 2]
