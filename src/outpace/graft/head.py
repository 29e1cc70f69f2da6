"""A head being trained: its tensors, and what it makes of a batch, depth after depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from outpace.graft.dataset import Batch, Depth
from outpace.graft.design import Design
from outpace.graft.loss import judge
from outpace.graft.start import read
from outpace.graft.torch_ops import Product, Seen, TorchOps

# From a design, its tensors by name, a batch and what products are computed in: for each depth, what the projection
# makes logits of, for every row [T, D]. Tensors of the batch are where those of the head are.
Unroll: TypeAlias = Callable[[Design, Mapping[str, Tensor], Batch, torch.dtype], Iterator[Tensor]]


def chained(design: Design, tensors: Mapping[str, Tensor], batch: Batch, dtype: torch.dtype) -> Iterator[Tensor]:
    """Run one head again and again, each time on the hidden state that it has made."""
    hidden, seen = batch.hidden, Seen(len(batch.sight), batch.sight)
    for depth in batch.depths:
        ops = TorchOps(
            tensors, depth.tokens, hidden, depth.positions, seen,
            left_out=frozenset({design.projection}), dtype=dtype,
        )  # fmt: skip
        design.run(ops)
        hidden, product = ops.outputs["hidden"], ops.outputs["logits"]
        assert isinstance(product, Product)
        yield product.x


def at_once(design: Design, tensors: Mapping[str, Tensor], batch: Batch, dtype: torch.dtype) -> Iterator[Tensor]:
    """Run a head for each depth, all of them on the trunk's hidden state."""
    first = batch.depths[0]
    seen = Seen(len(batch.sight), batch.sight)
    ops = TorchOps(
        tensors, first.tokens, batch.hidden, first.positions, seen,
        left_out=frozenset({design.projection}), dtype=dtype,
    )  # fmt: skip
    design.run(ops)
    for i in range(len(batch.depths)):
        product = ops.outputs[f"logits.{i}"]
        assert isinstance(product, Product)
        yield product.x


class Outcome(NamedTuple):
    """What came of a batch.

    Attributes:
        loss: Mean over rows, weighed over depths.
        n_rows: Rows that counted, by depth.
        n_kept: Rows whose guesses up to this depth were all the model's likeliest tokens, by depth.
    """

    loss: Tensor
    n_rows: list[int]
    n_kept: list[int]


class Head:
    """A model's head.

    Attributes:
        tensors: What is trained, by name; float32 with gradients.
        vocabulary: Tokens that its guesses may be, those that the model says most often first.
    """

    def __init__(
        self,
        design: Design,
        tensors: Mapping[str, Tensor],
        vocabulary: NDArray[np.int64],
        unroll: Unroll = chained,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Take what the head is made of.

        Args:
            design: The model's.
            tensors: Of the head itself.
            vocabulary: Tokens that its guesses may be, those that the model says most often first.
            unroll: What it makes of a batch, depth after depth.
            device: Where to compute, as torch names it.
            dtype: What products are computed in.
        """
        self._blueprint, self._device, self._dtype, self._unroll = design, device, dtype, unroll
        self.vocabulary = vocabulary
        self.tensors = {name: each.to(device).requires_grad_() for name, each in tensors.items()}
        rows = read(design, design.projection)[torch.from_numpy(vocabulary)]
        self._projection = rows.to(device, dtype)
        needed = [name for name in design.frozen if name == design.embedding or name != design.projection]
        self._frozen = {name: read(design, name).to(device) for name in needed}

    def outcome(self, batch: Batch, weights: Sequence[float], variation: float) -> Outcome:
        """Return how the head fares, so that its loss can be differentiated.

        Args:
            batch: Rows.
            weights: Of each depth's loss.
            variation: See `loss.judge`.
        """
        batch = _moved(batch, self._device)
        is_right = torch.ones(len(batch.hidden), dtype=torch.bool, device=self._device)
        total = torch.zeros((), device=self._device)
        n_rows, n_kept = [], []
        # Rounded once for all depths; their gradients meet there.
        tensors = {name: each.to(self._dtype) if each.ndim > 1 else each for name, each in self.tensors.items()}
        unrolled = self._unroll(self._blueprint, self._frozen | tensors, batch, self._dtype)
        for weight, depth, x in zip(weights, batch.depths, unrolled, strict=True):
            rows = depth.rows
            found = judge(x[rows].to(self._dtype), self._projection, depth.best, depth.shares, variation)
            total = total + weight / sum(weights) * found.loss / max(len(rows), 1)
            is_right &= torch.zeros_like(is_right).index_put((rows,), found.right)
            n_rows.append(len(rows))
            n_kept.append(int(is_right.sum()))
        return Outcome(total, n_rows, n_kept)


def _moved(batch: Batch, device: str) -> Batch:
    depths = [Depth(*(each.to(device) for each in depth)) for depth in batch.depths]
    return Batch(batch.hidden.to(device), batch.sight.to(device), depths)
