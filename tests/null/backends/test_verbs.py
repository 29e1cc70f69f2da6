"""Verbs of the reference against other ways of computing the same."""

import numpy as np
import pytest

from outpace.backends.reference import PagedKV, ReferenceOps
from outpace.graph.step import Segment, Step

RANDOM = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def verbs(n: int) -> ReferenceOps:
    """Verbs over n rows of one text; arrays stand for weights."""
    return ReferenceOps(
        Step([0] * n, [Segment(0, n, np.zeros(1, np.int32))], []), lambda array: array, PagedKV(1, "f32")
    )


def test_a_convolution_is_that_of_each_channel():
    x, weight = normal(9, 5), normal(5, 4)
    y = verbs(9).conv(x, weight, layer=0)
    for channel in range(5):
        whole = np.convolve(x[:, channel], weight[channel, ::-1])
        assert y[:, channel] == pytest.approx(whole[:9], abs=1e-6)


@pytest.mark.parametrize("tiled", [True, False])
def test_a_memory_holds_what_was_last_written_under_a_key(tiled: bool):
    """With orthonormal keys, no decay and beta 1 it is a table: a key reads the value written under it last."""
    keys = np.stack([np.linalg.qr(normal(4, 4))[0] for _ in range(2)], axis=1).astype(np.float32)  # [4, G, K]
    order = [0, 1, 2, 1, 3, 0]
    v = normal(6, 4, 3)
    ones = np.ones((6, 4), np.float32)
    q = keys[[0, 1, 2, 1, 1, 1]]
    y = verbs(6).gated_delta(q, keys[order], v, ones, ones, layer=0, tiled=tiled)
    assert y[:4] == pytest.approx(v[:4], abs=1e-5)
    assert y[4:] == pytest.approx(np.stack([v[3], v[3]]), abs=1e-5)


@pytest.mark.parametrize("tiled", [True, False])
def test_a_value_head_uses_its_own_key_head(tiled: bool):
    k = np.zeros((1, 2, 2), np.float32)
    k[0, 0, 0] = k[0, 1, 1] = 1
    q = np.zeros((1, 2, 2), np.float32)
    q[0, 0, 0] = 1  # only the first key head reads
    one = np.ones((1, 4), np.float32)
    y = verbs(1).gated_delta(q, k, np.ones((1, 4, 1), np.float32), one, one, layer=0, tiled=tiled)
    assert y[0, :, 0].tolist() == ([1, 0, 1, 0] if tiled else [1, 1, 0, 0])


def test_decay_and_beta_by_hand():
    ones = np.ones((2, 1, 1), np.float32)
    half, full = np.array([[1.0], [0.5]], np.float32), np.array([[1.0], [0.25]], np.float32)
    y = verbs(2).gated_delta(ones, ones, ones * 8, half, full, layer=0)
    # S = 8, then 4 + 0.25 * (8 - 4).
    assert y.reshape(-1).tolist() == [8.0, 5.0]


def test_decay_stays_finite():
    a = np.array([[-200.0, 0.0, 200.0]], np.float32)
    rate, bias = np.full(3, -2, np.float32), np.zeros(3, np.float32)
    assert verbs(1).decay(a, rate, bias)[0] == pytest.approx([1.0, 0.25, 0.0])
    assert verbs(1).sigmoid(a)[0].tolist() == [0.0, 0.5, 1.0]


def mix(router: list[float], n_used: int, norm_topk: bool = True) -> list[float]:
    """Return how much each expert counts: expert e writes silu(1) to entry e."""
    n = len(router)
    x, first = np.ones((1, n), np.float32), np.zeros((n, 1, n), np.float32)
    first[:, :, 0] = 1
    down = np.eye(n, dtype=np.float32)[:, :, None]
    y = verbs(1).experts(x, np.array([router], np.float32), first, first, down, n_used=n_used, norm_topk=norm_topk)
    return (y[0] / (1 / (1 + np.exp(-1)))).tolist()


def test_the_largest_shares_are_used():
    shares = np.exp([1.0, 3.0, 2.0]) / np.exp([1.0, 3.0, 2.0]).sum()
    assert mix([1, 3, 2], 3) == pytest.approx(shares)
    assert mix([1, 3, 2], 2, norm_topk=False) == pytest.approx([0, shares[1], shares[2]])
    assert mix([1, 3, 2], 2) == pytest.approx([0, *(shares[1:] / shares[1:].sum())])


def test_of_equal_shares_the_lower_index_is_used():
    assert mix([0, 1, 1, 1, 0], 2) == pytest.approx([0, 0.5, 0.5, 0, 0])
    assert mix([0, 0, 0], 1) == pytest.approx([1, 0, 0])


def test_parts_and_rows_put_together():
    ops, x = verbs(2), np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    assert ops.part(x, 1, 2)[1].tolist() == [[7, 8], [10, 11]]
    assert ops.concat(ops.part(x, 0, 1), x[:, 0])[0].tolist() == [0, 3, 0, 1, 2]
    assert ops.heads(ops.part(x, 1, 2), 4)[0].tolist() == [[1], [2], [4], [5]]
    norm = ops.l2_norm(np.array([[3.0, 4.0]], np.float32), 0.0)
    assert norm[0] == pytest.approx([0.6, 0.8])
