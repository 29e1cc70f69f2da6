"""A head being trained: its tensors, and what it makes of a batch, depth after depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from outpace.graft.blueprint import Blueprint
from outpace.graft.dataset import Batch
from outpace.graft.loss import judge
from outpace.graft.start import read
from outpace.graft.torch_ops import Product, Seen, TorchOps


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
    """

    def __init__(
        self,
        blueprint: Blueprint,
        tensors: Mapping[str, Tensor],
        vocabulary: NDArray[np.int64],
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Take what the head is made of.

        Args:
            blueprint: The model's.
            tensors: Of the head itself.
            vocabulary: Tokens that its guesses may be.
            device: Where to compute, as torch names it.
            dtype: What products are computed in.
        """
        self._blueprint, self._device, self._dtype = blueprint, device, dtype
        self.tensors = {name: each.to(device).requires_grad_() for name, each in tensors.items()}
        rows = read(blueprint, blueprint.projection)[torch.from_numpy(vocabulary)]
        self._projection = rows.to(device, dtype)
        needed = [name for name in blueprint.frozen if name == blueprint.embedding or name != blueprint.projection]
        self._frozen = {name: read(blueprint, name).to(device) for name in needed}

    def outcome(self, batch: Batch, weights: Sequence[float], variation: float) -> Outcome:
        """Return how the head fares, so that its loss can be differentiated.

        Args:
            batch: Rows.
            weights: Of each depth's loss.
            variation: See `loss.judge`.
        """
        hidden = batch.hidden.to(self._device)
        seen = Seen(len(batch.sight), batch.sight.to(self._device))
        is_right = torch.ones(len(hidden), dtype=torch.bool, device=self._device)
        total = torch.zeros((), device=self._device)
        n_rows, n_kept = [], []
        for weight, depth in zip(weights, batch.depths, strict=True):
            tokens, positions, rows, best, shares = (each.to(self._device) for each in depth)
            ops = TorchOps(
                self._frozen | self.tensors, tokens, hidden, positions, seen,
                left_out=frozenset({self._blueprint.projection}), dtype=self._dtype,
            )  # fmt: skip
            self._blueprint.run(ops)
            hidden, product = ops.outputs["hidden"], ops.outputs["logits"]
            assert isinstance(product, Product)
            found = judge(product.x[rows].to(self._dtype), self._projection, best, shares, variation)
            total = total + weight / sum(weights) * found.loss / max(len(rows), 1)
            is_right &= torch.zeros_like(is_right).index_put((rows,), found.right)
            n_rows.append(len(rows))
            n_kept.append(int(is_right.sum()))
        return Outcome(total, n_rows, n_kept)
