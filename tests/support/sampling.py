"""Settings, the distribution each defines by enumeration in plain Python and float64, and a chi-square test."""

import math
from collections import Counter

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
