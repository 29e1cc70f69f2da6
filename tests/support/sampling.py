"""Settings, requests, the distribution each defines by enumeration in plain Python, and a chi-square test."""

import math
from collections import Counter

import numpy as np
from hypothesis import strategies as st

from outpace.sampling import SamplingParams

LOGITS = [2.0, 1.1, 0.4, -0.3, -1.2, -2.5]
RECENT = [0, 1, 0, 5]
OPEN = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
CASES = [
    {},
    {"temperature": 0.5},
    {"temperature": 2.0},
    {"top_k": 3},
    {"top_k": 1},
    {"top_p": 0.8},
    {"min_p": 0.15, "temperature": 1.5},
    {"typical_p": 0.6},
    {"repeat_penalty": 1.7},
    {"presence_penalty": 0.7},
    {"frequency_penalty": 0.6, "repeat_last_n": 3},
    {"logit_bias": ((3, 2.0), (0, -math.inf))},
    {
        "temperature": 0.8,
        "top_k": 5,
        "typical_p": 0.97,
        "top_p": 0.95,
        "min_p": 0.05,
        "repeat_penalty": 1.2,
        "logit_bias": ((4, 3.0),),
    },
]


def enumerate_exactly(p):
    """Token -> probability, from the definitions alone."""
    x = dict(enumerate(LOGITS))
    for token, amount in p.logit_bias:
        x[token] += amount
    for token, count in Counter(RECENT[-p.repeat_last_n :] if p.repeat_last_n else []).items():
        x[token] = x[token] / p.repeat_penalty if x[token] > 0 else x[token] * p.repeat_penalty
        x[token] -= count * p.frequency_penalty + p.presence_penalty
    x = {i: v for i, v in x.items() if v > -math.inf}

    def softmax(scale=1.0):
        total = sum(math.exp(v / scale) for v in x.values())
        return {i: math.exp(v / scale) / total for i, v in x.items()}

    def prefix(order, probability, share):
        held, out = 0.0, []
        for i in order:
            out.append(i)
            held += probability[i]
            if held >= share:
                break
        return out

    def keep(ids):
        return {i: x[i] for i in ids}

    if p.top_k:
        x = keep(sorted(x, key=lambda i: -x[i])[: p.top_k])
    if p.typical_p < 1:
        q = softmax()
        entropy = -sum(v * math.log(v) for v in q.values())
        x = keep(prefix(sorted(q, key=lambda i: abs(-math.log(q[i]) - entropy)), q, p.typical_p))
    if p.top_p < 1:
        q = softmax()
        x = keep(prefix(sorted(q, key=lambda i: -q[i]), q, p.top_p))
    if p.min_p:
        q = softmax()
        x = keep([i for i in q if q[i] >= p.min_p * max(q.values())])
    return softmax(p.temperature)


def assert_follows(counts, probability, n):
    """A chi-square test at about one in a million (Wilson and Hilferty's normal approximation)."""
    assert set(counts) <= set(probability)
    freedom = len(probability) - 1
    if freedom == 0:
        return
    chi2 = sum((counts.get(i, 0) - n * q) ** 2 / (n * q) for i, q in probability.items())
    spread = 2 / (9 * freedom)
    z = ((chi2 / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    assert z < 4.9, (chi2, freedom)


@st.composite
def rows(draw):
    """Rows as models write them and as they should not: ties, masks, huge values, infinities."""
    n = draw(st.one_of(st.integers(1, 200), st.sampled_from([255, 256, 257, 1000, 4097])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = draw(st.sampled_from([0.0, 0.01, 1.0, 4.0, 30.0, 1e4, 3e38]))
    with np.errstate(over="ignore"):
        logits = (rng.uniform(-1, 1, n) if spread > 1e4 else rng.normal(size=n)).astype(np.float32) * np.float32(spread)
    if draw(st.booleans()):
        logits = np.round(logits).astype(np.float32)
    if draw(st.booleans()):
        logits[rng.random(n) < draw(st.sampled_from([0.1, 0.9, 0.999]))] = -np.inf
    if draw(st.integers(0, 9)) == 0:
        logits[rng.integers(n)] = np.inf
    return logits


def share(off):
    return st.one_of(st.just(float(off)), st.sampled_from([0.0, 0.05, 0.5, 0.9, 0.95, 0.9999, 1.0]), st.floats(0, 1))


@st.composite
def requests(draw):
    logits = draw(rows())
    ids = st.integers(0, len(logits) - 1)
    biases = st.one_of(st.floats(-1000, 1000), st.just(-math.inf))
    params = SamplingParams(
        temperature=draw(st.sampled_from([0.0, 0.001, 0.3, 0.8, 1.0, 1.7, 1000.0])),
        top_k=draw(st.one_of(st.just(0), st.integers(0, 100), st.integers(0, 5000))),
        top_p=draw(share(1)),
        min_p=draw(share(0)),
        typical_p=draw(share(1)),
        repeat_penalty=draw(st.sampled_from([1.0, 1.1, 0.7, 3.0])),
        presence_penalty=draw(st.sampled_from([0.0, 0.5, -2.0])),
        frequency_penalty=draw(st.sampled_from([0.0, 0.3, -0.1])),
        repeat_last_n=draw(st.sampled_from([-1, 0, 1, 8, 64])),
        logit_bias=tuple(draw(st.dictionaries(ids, biases, max_size=3)).items()),
        seed=draw(st.integers(0, 2**64 - 1)),
        logprobs=draw(st.sampled_from([None, 0, 1, 5, 300])),
    )
    return params, logits, draw(st.integers(0, 2**40)), draw(st.lists(ids, max_size=100))
