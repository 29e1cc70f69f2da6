"""How far a head's guesses are from what the model says, with the gradient, piece by piece: logits are never kept."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

# Rows whose logits exist at a time: few enough for a cache.
_ROWS = 128
_LEAST = 1e-6  # of a probability that is divided by


class Judged(NamedTuple):
    """How rows fared.

    Attributes:
        loss: Sum over rows.
        right: Which rows' likeliest token is the model's [R].
    """

    loss: Tensor
    right: Tensor


def judge(x: Tensor, matrix: Tensor, best: Tensor, shares: Tensor, variation: float) -> Judged:
    """Compare a head's distribution with the model's over its likeliest tokens and one bucket for all others.

    Of each row: KL(model || head) + variation * total variation, which is the share of sampled guesses that are wrong.

    Args:
        x: Hidden states [R, D], in the type that products are computed in.
        matrix: Rows of the vocabulary projection, in the same type [N, D].
        best: The model's likeliest tokens as rows of it, the likeliest first; N for one that has none [R, 16].
        shares: Their probabilities, 0 for those [R, 16].
        variation: Weight of the total variation.

    Source: LK losses, arXiv:2602.23881.
    """
    return Judged(*_Loss.apply(x, matrix, best, shares, variation))  # type: ignore[no-untyped-call]


class _Loss(torch.autograd.Function):
    """The sum over rows; the gradient is computed along with it, while a piece's logits are there."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, matrix: Tensor, best: Tensor, shares: Tensor, variation: float
    ) -> tuple[Tensor, Tensor]:
        gradient = torch.empty_like(x) if x.requires_grad else None
        loss = torch.zeros((), device=x.device)
        rights = []
        for at in range(0, len(x), _ROWS):
            rows = slice(at, at + _ROWS)
            found, right, slope = _piece(x[rows] @ matrix.T, best[rows], shares[rows], variation)
            loss += found
            rights.append(right)
            if gradient is not None:
                gradient[rows] = slope.to(x.dtype) @ matrix
        ctx.save_for_backward(gradient)
        every = torch.cat(rights) if rights else torch.empty(0, dtype=torch.bool, device=x.device)
        ctx.mark_non_differentiable(every)
        return loss, every

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * slopes[0].to(gradient.dtype), None, None, None, None


def _piece(logits: Tensor, best: Tensor, shares: Tensor, variation: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss of some rows, which are right, and the slope by their logits [R, N]."""
    n = logits.shape[1]
    has, place = best < n, best.clamp(max=n - 1)
    q = logits.float()
    most, first = q.max(-1, keepdim=True)
    right = (first[:, 0] == best[:, 0]) & has[:, 0]
    log_best = q.gather(1, place) - most
    # One pass of exponentials serves the sum and the slope.
    total = q.sub_(most).exp_().sum(-1, keepdim=True)
    log_best = (log_best - total.log()) * has
    q_best = log_best.exp() * has
    rest, q_rest = (1 - shares.sum(-1, keepdim=True)).clamp(0), (1 - q_best.sum(-1, keepdim=True)).clamp(_LEAST)
    loss = (torch.special.xlogy(shares, shares) - shares * log_best).sum() + torch.special.xlogy(
        rest, rest / q_rest
    ).sum()
    # How the loss changes with a bucket's logarithm: minus its share, and its part of the variation.
    slope_best, slope_rest = -shares, -rest
    if variation:
        loss = loss + variation / 2 * ((shares - q_best).abs().sum() + (rest - q_rest).abs().sum())
        slope_best = slope_best + variation / 2 * (q_best - shares).sign() * q_best
        slope_rest = slope_rest + variation / 2 * (q_rest - rest).sign() * q_rest
    # Through the softmax: each bucket's slope less its part of their sum. Tokens of the last share in it as they are.
    whole = slope_best.sum(-1, keepdim=True) + slope_rest
    q = q.mul_((slope_rest / q_rest - whole) / total)
    return loss, right, _put(q, place, slope_best - whole * q_best, has)


def _put(slope: Tensor, place: Tensor, values: Tensor, has: Tensor) -> Tensor:
    """Put values where a row has them; places that it has not stand for others', which keep theirs."""
    kept = slope.gather(1, place)
    return slope.scatter_add_(1, place, torch.where(has, values - kept, torch.zeros_like(kept)))
