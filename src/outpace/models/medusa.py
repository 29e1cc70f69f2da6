"""Medusa heads as a draft program: from one hidden state of the trunk, a guess for each of several further tokens."""

from __future__ import annotations

from outpace.gguf.heads import MEDUSA_PREFIX
from outpace.gguf.weights import Weights
from outpace.graph.ops import Ops
from outpace.models.blocks import head
from outpace.models.definition import Config


def draft(ops: Ops, w: Weights, c: Config) -> None:
    """Turn hidden states into `logits.0` to `logits.{k-1}` [W, V], those of head 0 of the tokens after a row's.

    Row p takes the trunk's hidden state of position p - 1, after its output norm, as `mtp.draft` does. The model's own
    projection makes the token at p of it, head i that at p + 1 + i; the token at p is not looked at. A head whose
    weight and bias are zero says what the model says. No head reads another's result, so each can be run by itself
    (`passes.by_head`).

    Source: Cai et al. 2024 (arXiv:2401.10774), section 2.1.1; the projection is the model's own, shared by all heads.
    """
    h = ops.hidden(c.d_model)  # [T, D]
    projection = head(w, c.n_vocab, c.d_model)
    for i in range(c.n_medusa):
        m = w.scoped(f"{MEDUSA_PREFIX}{i}.")
        y = ops.silu(ops.linear(h, m("weight", c.d_model, c.d_model), m("bias", c.d_model)))
        ops.output(f"logits.{i}", ops.linear(ops.wanted(ops.add(h, y)), projection))
