"""A multi-token-prediction head as a draft program: from a token and the hidden state before it, the next token."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from outpace.gguf.weights import Weights
from outpace.graph.ops import Ops, Value
from outpace.models.blocks import head
from outpace.models.definition import Config

# Runs one transformer block with attention: (layer, its weights, x [T, D]) -> [T, D].
Block: TypeAlias = Callable[[int, Weights, Value], Value]


def draft(ops: Ops, w: Weights, c: Config, block: Block) -> None:
    """Turn tokens and hidden states into `logits` [W, V] of the tokens after them, and `hidden` [X, D] to go on from.

    Row p takes the token at position p and the hidden state of position p - 1: the trunk's, after its output norm, or
    this program's own when it is fed its own guesses. At position 0 the hidden state is zeros.

    Source: DeepSeek-AI 2024 (arXiv:2412.19437), section 2.2; tensor names `blk.N.nextn.*` of the GGUF specification.
    """
    layer, d_model = c.n_layers, c.d_model
    m = w.scoped(f"blk.{layer}.")
    table = m if m.has("nextn.embed_tokens.weight") else w
    name = "nextn.embed_tokens.weight" if table is m else "token_embd.weight"
    e = ops.rms_norm(ops.embed(table(name, c.n_vocab, d_model)), m("nextn.enorm.weight", d_model), c.norm_eps)
    h = ops.rms_norm(ops.hidden(d_model), m("nextn.hnorm.weight", d_model), c.norm_eps)
    x = ops.linear(ops.concat(e, h), m("nextn.eh_proj.weight", d_model, 2 * d_model))  # [T, D]
    x = ops.exported(block(layer, m, x))
    if m.has("nextn.shared_head_norm.weight"):
        norm = m("nextn.shared_head_norm.weight", d_model)
    else:
        norm = w("output_norm.weight", d_model)
    h = ops.rms_norm(x, norm, c.norm_eps)  # [X, D]
    ops.output("hidden", h)
    own = "nextn.shared_head_head.weight"
    matrix = m(own, c.n_vocab, d_model) if m.has(own) else head(w, c.n_vocab, d_model)
    ops.output("logits", ops.linear(ops.wanted(h), matrix))
