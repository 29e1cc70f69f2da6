"""What a head is before it is trained: the file's own, one laid over the trunk's states by least squares, or zeros."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from outpace.errors import ModelFileError
from outpace.gguf.quants import dequantize
from outpace.graft.blueprint import Blueprint

if TYPE_CHECKING:
    from outpace.graft.dataset import Batch, Dataset
    from outpace.graft.design import Design

# Blocks that the least squares are over, those of a batch, and what is added to the squares for few rows' sake.
_BLOCKS, _AT_A_TIME, _RIDGE = 640, 16, 1e-3
# A block's matrices that write to the residual stream: with zeros in them a block changes nothing.
_WRITES = ("attn_output.", "ffn_down.", "ffn_down_exps.", "ffn_down_shexp.")
# Norms of a block that stand before its matrices, whose scale they are.
_NORMS = ("attn_norm.weight", "ffn_norm.weight", "post_attention_norm.weight")
# Weights of a norm below this carry nothing that could be told from its output.
_LEAST = 1e-4


def read(design: Design, name: str) -> Tensor:
    """Return a tensor of the model's file in float32.

    Raises:
        ModelFileError: A value of it is not finite.
    """
    info = design.file.tensors[name]
    values = dequantize(design.file.data(name), info.type, info.shape)
    if not np.isfinite(values).all():
        problem = "holds values that are not finite; no head can begin with them"
        raise ModelFileError(design.file.path, problem, f"tensor '{name}'")
    return torch.from_numpy(values)


def check_own(design: Design) -> None:
    """Read the head that the file has, if it has one, so that hours of work do not end with what is wrong with it.

    Raises:
        ModelFileError: A value of it is not finite.
    """
    for name in design.shapes:
        if name in design.file.tensors:
            read(design, name)


def from_zeros(design: Design) -> dict[str, Tensor]:
    """Return the tensors of Medusa heads, in float32, by name: of new ones zeros, so that they say what the model says.

    Source: Cai et al. 2024 (arXiv:2401.10774), section 2.1.1.
    """
    own = design.file.tensors
    return {name: read(design, name) if name in own else torch.zeros(shape) for name, shape in design.shapes.items()}


def from_least_squares(design: Design, data: Dataset) -> dict[str, Tensor]:
    """Return the tensors of a multi-token-prediction head, in float32, by name.

    A new head begins as the best linear guess: its first projection makes of a token and the hidden state before it the
    hidden state after it, as nearly as least squares over the text can. Its block is the trunk's last layer, but adds
    nothing yet, and its matrices are brought to one scale: the trunk's own is made for another input.

    Args:
        design: The model's.
        data: The text; tokens are chosen.
    """
    assert isinstance(design, Blueprint), "other heads have no block"
    found = {}
    for name, shape in design.shapes.items():
        part = name.removeprefix(design.prefix)
        if name in design.file.tensors:
            found[name] = read(design, name)
        elif part == "nextn.eh_proj.weight":
            found[name] = _next_state(design, data)
        elif part == "nextn.shared_head_norm.weight":
            found[name] = read(design, "output_norm.weight")
        elif part.startswith("nextn."):
            found[name] = torch.ones(shape)
        elif part.startswith(_WRITES):
            found[name] = torch.zeros(shape)
        else:
            found[name] = _to_scale(part, read(design, f"blk.{design.source}.{part}"))
    return found


def _to_scale(part: str, values: Tensor) -> Tensor:
    """Return a layer's tensor with a mean square of 1 for norms, and for matrices 1 over their columns."""
    if values.ndim == 1 and part not in _NORMS:
        return values
    columns = values.shape[-1] if values.ndim > 1 else 1
    return values / (values.square().mean() * columns).sqrt()


def _next_state(design: Blueprint, data: Dataset) -> Tensor:
    """Return the matrix [D, 2 D] that makes hidden states, before their norm, of a token and the state before it."""
    chosen = data.train[np.linspace(0, len(data.train) - 1, min(len(data.train), _BLOCKS)).astype(int)]
    table, norm = read(design, design.embedding), read(design, "output_norm.weight")
    width, eps = len(norm), design.config.norm_eps
    squares = torch.zeros(2 * width, 2 * width, dtype=torch.float64)
    products = torch.zeros(2 * width, width, dtype=torch.float64)
    for at in range(0, len(chosen), _AT_A_TIME):
        batch = data.batch(chosen[at : at + _AT_A_TIME])
        rows = _followed(batch)
        tokens, before = table[batch.depths[0].tokens[rows]], batch.hidden[rows]
        given = torch.cat([functional.rms_norm(each, (width,), eps=eps) for each in (tokens, before)], 1)
        wanted = torch.where(norm.abs() > _LEAST, batch.hidden[rows + 1] / norm, 0.0)
        squares += given.T @ given
        products += given.T @ wanted
    squares += torch.eye(2 * width) * (_RIDGE * squares.diagonal().mean())
    matrix: Tensor = torch.linalg.solve(squares, products)
    return matrix.T.float().contiguous()


def _followed(batch: Batch) -> Tensor:
    """Return the rows that count and whose own hidden state is known: it is given to the next row of the same text."""
    n = batch.sight.shape[1]
    rows = batch.depths[0].rows
    rows = rows[rows % n != n - 1]
    place = rows % n
    return rows[batch.sight[rows // n, place + 1, place]]
