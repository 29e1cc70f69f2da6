"""The loss of a head and its gradient against the same thing written plainly for torch to differentiate, in float64."""

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from outpace.graft.loss import judge  # noqa: E402 - imports torch

ROWS, WIDTH, N, TOP = 700, 12, 40, 5


def _given():
    random = torch.Generator().manual_seed(0)
    x = 0.5 * torch.randn(ROWS, WIDTH, generator=random, dtype=torch.float64)
    matrix = torch.randn(N, WIDTH, generator=random, dtype=torch.float64)
    best = torch.stack([torch.randperm(N, generator=random)[:TOP] for _ in range(ROWS)])
    shares = torch.rand(ROWS, TOP, generator=random, dtype=torch.float64).sort(-1, descending=True)[0]
    shares = 0.9 * shares / shares.sum(-1, keepdim=True)
    # Some likeliest tokens have no row in the matrix.
    best[::7, 2] = N
    shares[::7, 2] = 0
    best[::11, 0] = N
    shares[::11, 0] = 0
    return x, matrix, best, shares


def _plainly(x, matrix, best, shares, variation):
    total = torch.zeros((), dtype=torch.float64)
    for row, tokens, p in zip(x, best, shares, strict=True):
        q = (matrix @ row).softmax(0)
        kept = tokens < N
        q_best, p_best = q[tokens[kept]], p[kept]
        buckets_q = torch.cat([q_best, (1 - q_best.sum())[None]])
        buckets_p = torch.cat([p_best, (1 - p_best.sum())[None]])
        total = total + (buckets_p * (buckets_p.log() - buckets_q.log())).sum()
        total = total + variation * (buckets_p - buckets_q).abs().sum() / 2
    return total


@pytest.mark.parametrize("variation", [0.0, 1.5])
def test_loss_and_gradient_are_those_of_the_plain_formula(variation: float):
    x, matrix, best, shares = _given()
    x.requires_grad_()
    theirs = _plainly(x, matrix, best, shares, variation)
    (slope,) = torch.autograd.grad(theirs, x)
    small = x.detach().float().requires_grad_()
    found = judge(small, matrix.float(), best, shares.float(), variation)
    (3 * found.loss).backward()
    assert found.loss.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert (small.grad - 3 * slope).abs().max() < 2e-5 * slope.abs().max()


def test_a_row_is_right_where_its_likeliest_token_is_the_models():
    x, matrix, best, shares = _given()
    expected = (x @ matrix.T).argmax(-1) == best[:, 0]
    best[:20, 0] = (x @ matrix.T).argmax(-1)[:20]
    expected[:20] = True
    assert (judge(x.float(), matrix.float(), best, shares.float(), 0.0).right == expected).all()
