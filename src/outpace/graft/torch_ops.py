"""The verbs of a draft program in torch, with gradients: the head is trained by the same function that runs it."""

# ruff: noqa: D102 - the verbs are documented in graph/ops.py

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor
from torch.nn import functional

from outpace.errors import UnsupportedError
from outpace.gguf.weights import WeightRef
from outpace.graph.ops import Rope


class Product(NamedTuple):
    """A multiplication by a large matrix that is left to whoever reads the result.

    Attributes:
        x: Rows [T, D].
        weight: The matrix [V, D].
    """

    x: Tensor
    weight: WeightRef


@dataclass
class Seen:
    """What rows may attend to: the sequences of a batch, and what the depths before have written.

    Row p of depth k reads the keys of depth 1 that its sight allows, and of depths 2 to k those of row p alone: in
    drafting, the past has true hidden states, and what lies between is the head's own chain.

    Attributes:
        n_sequences: B sequences of T / B rows each.
        sight: Bool [B, T / B, T / B]: which rows of depth 1 each row sees, itself among them.
        layers: Keys and values [B, G, T / B, K] by layer, one pair for each depth.

    State: `layers` grows with each depth.
    """

    n_sequences: int
    sight: Tensor
    layers: dict[int, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)


class TorchOps:
    """The verbs over the rows of one depth; values are tensors, `outputs` collects what the program names.

    Draft programs have no recurrent layers; the verbs of those are refused.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        tokens: Tensor,
        hidden: Tensor,
        positions: Tensor,
        seen: Seen,
        *,
        left_out: frozenset[str] = frozenset(),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Take what the rows are.

        Args:
            tensors: Every tensor that the program asks for, by name.
            tokens: Token of each row [T].
            hidden: Hidden state of the position before each row's [T, D].
            positions: Position of each row [T].
            seen: What they attend to; takes in their keys and values.
            left_out: Matrices whose products are not multiplied out: `linear` returns a `Product`.
            dtype: What products are computed in, and what norms return; sums and what is in norms stay in float32.
        """
        self.outputs: dict[str, Any] = {}
        self._tensors, self._tokens, self._hidden, self._positions = tensors, tokens, hidden, positions
        self._seen, self._left_out, self._dtype = seen, left_out, dtype
        self._turns: dict[Rope, tuple[Tensor, Tensor]] = {}

    def embed(self, table: WeightRef) -> Tensor:
        return functional.embedding(self._tokens, self._tensors[table.name])

    def hidden(self, width: int) -> Tensor:
        assert self._hidden.shape == (len(self._tokens), width), "a draft program needs hidden states [T, D]"
        return self._hidden

    def linear(self, x: Tensor, weight: WeightRef, bias: WeightRef | None = None) -> Any:
        if weight.name in self._left_out:
            return Product(_flat(x), weight)
        matrix = self._tensors[weight.name].view(weight.shape)
        y = functional.linear(_flat(x).to(self._dtype), matrix.to(self._dtype))
        return y if bias is None else y + self._tensors[bias.name]

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y

    def mul(self, x: Tensor, y: Tensor) -> Tensor:
        return x * y

    def scale(self, x: Tensor, factor: float) -> Tensor:
        return x * factor

    def silu(self, x: Tensor) -> Tensor:
        return functional.silu(x)

    def sigmoid(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def rms_norm(self, x: Tensor, weight: WeightRef, eps: float) -> Tensor:
        y: Tensor = _Norm.apply(x, self._tensors[weight.name], eps, self._dtype)  # type: ignore[no-untyped-call]
        return y

    def l2_norm(self, x: Tensor, eps: float) -> Tensor:
        x = x.float()
        return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + eps)

    def heads(self, x: Tensor, n: int) -> Tensor:
        return x.reshape(len(x), n, math.prod(x.shape[1:]) // n)

    def part(self, x: Tensor, begin: int, n: int) -> Tensor:
        return x[..., begin : begin + n]

    def concat(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([_flat(x), _flat(y)], 1)

    def rope(self, x: Tensor, rope: Rope) -> Tensor:
        if rope not in self._turns:
            self._turns[rope] = self._turn(rope)
        cos, sin = self._turns[rope]
        turned, rest = x[..., : rope.dims].float(), x[..., rope.dims :].float()
        if rope.style == "norm":
            a, b = turned[..., 0::2], turned[..., 1::2]
            y = torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)
        else:
            a, b = turned.chunk(2, -1)
            y = torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
        return torch.cat([y, rest], -1) if rest.shape[-1] else y

    def attention(self, q: Tensor, k: Tensor, v: Tensor, *, layer: int, scale: float) -> Tensor:
        n, n_groups, width = self._seen.n_sequences, k.shape[1], k.shape[2]
        rows = len(q) // n
        keys, values = (x.to(self._dtype).view(n, rows, n_groups, width).transpose(1, 2) for x in (k, v))
        depths = self._seen.layers.setdefault(layer, [])
        depths.append((keys, values))
        # Query heads of one key head stand together: [B, G, H / G, rows, K].
        asked = q.to(self._dtype).view(n, rows, n_groups, -1, width).permute(0, 2, 3, 1, 4)
        shares = self._shares(asked, [each for each, _ in depths], scale)
        flat = (n, n_groups, -1, rows)
        y = (shares[..., :rows].reshape(flat) @ depths[0][1]).view(asked.shape)
        for i, (_, each) in enumerate(depths[1:]):
            y = y + shares[..., rows + i, None] * each[:, :, None]
        return y.permute(0, 3, 1, 2, 4).reshape(len(q), -1)

    def experts(
        self,
        x: Tensor,
        router: Tensor,
        gate: WeightRef,
        up: WeightRef,
        down: WeightRef,
        *,
        n_used: int,
        norm_topk: bool = True,
    ) -> Tensor:
        shares, used = router.float().softmax(-1).topk(n_used)
        if norm_topk:
            shares = shares / shares.sum(-1, keepdim=True)
        gates, ups, downs = (self._tensors[ref.name].to(self._dtype) for ref in (gate, up, down))
        y = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
        for e in range(len(gates)):
            row, place = (used == e).nonzero(as_tuple=True)
            given = x[row].to(self._dtype)
            h = functional.silu(given @ gates[e].T) * (given @ ups[e].T)
            y = y.index_add(0, row, shares[row, place, None] * (h @ downs[e].T))
        return y

    def exported(self, x: Tensor) -> Tensor:
        return x

    def wanted(self, x: Tensor) -> Tensor:
        return x

    def output(self, name: str, x: Any) -> None:
        self.outputs[name] = x

    def conv(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("conv")

    def decay(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("decay")

    def gated_delta(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("gated_delta")

    def _shares(self, q: Tensor, keys: list[Tensor], scale: float) -> Tensor:
        """Return how much of each value queries take: [B, G, H / G, rows, rows + depths - 1], in the products' type."""
        n, n_groups, _, rows, width = q.shape
        first = q.reshape(n, n_groups, -1, width) @ keys[0].transpose(-1, -2)
        first = first.view(*q.shape[:-1], rows).masked_fill(~self._seen.sight[:, None, None], -torch.inf)
        own = [(q * each[:, :, None]).sum(-1, keepdim=True) for each in keys[1:]]
        return (torch.cat([first, *own], -1).float() * scale).softmax(-1).to(self._dtype)

    def _turn(self, rope: Rope) -> tuple[Tensor, Tensor]:
        """Return cos and sin [T, 1, dims / 2] of every row's angles, computed in float64."""
        speed = rope.base ** (-torch.arange(0, rope.dims, 2, dtype=torch.float64) / rope.dims) / rope.scale
        speed = speed.to(self._positions.device)
        if rope.factors is not None:
            speed = speed / self._tensors[rope.factors.name]
        angles = (self._positions.double()[:, None] * speed)[:, None]
        return angles.cos().float(), angles.sin().float()


class _Norm(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps) * weight along the last axis, with a gradient in fewer passes than by its parts."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        x = x.float()
        root = (x.square().mean(-1, keepdim=True) + eps).rsqrt()
        ctx.save_for_backward(x, root, weight)
        return (x * root).mul_(weight).to(dtype)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        x, root, weight = ctx.saved_tensors
        unit, slope = x * root, slopes[0].float()
        by_weight = (slope * unit).flatten(0, -2).sum(0)
        slope = slope * weight
        along = (slope * unit).mean(-1, keepdim=True)
        return slope.sub_(unit.mul_(along)).mul_(root), by_weight, None, None


def _flat(x: Tensor) -> Tensor:
    return x.reshape(len(x), -1)


def _refuse(verb: str) -> NoReturn:
    raise UnsupportedError("training through the verb", verb, ("attention, experts and whatever works row by row",))
