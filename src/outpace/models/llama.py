"""Llama 2 and 3, Mistral, SmolLM2: pre-norm transformer with grouped heads and SwiGLU."""

from __future__ import annotations

from outpace.gguf.weights import Weights
from outpace.graph.ops import Ops, Rope, Value
from outpace.models import mtp
from outpace.models.blocks import end, projection, swiglu
from outpace.models.definition import Definition
from outpace.models.dense import Config


def rotary(w: Weights, c: Config) -> Rope:
    """Return the rotary embedding: neighbours are paired, since q and k rows are stored permuted for that.

    Source: Llama 3.1's frequency factors are the optional tensor `rope_freqs.weight`.
    """
    factors = w("rope_freqs.weight", c.rope_dims // 2) if w.has("rope_freqs.weight") else None
    return Rope(c.rope_dims, c.rope_base, "norm", c.rope_scale, factors)


def attention(ops: Ops, w: Weights, c: Config, layer: int, rope: Rope, h: Value) -> Value:
    """Attend with grouped heads: [T, D] -> [T, H * K], before the output projection."""
    q = ops.heads(projection(ops, w, "attn_q", c.n_heads * c.head_dim, h), c.n_heads)  # [T, H, K]
    k = ops.heads(projection(ops, w, "attn_k", c.n_kv_heads * c.head_dim, h), c.n_kv_heads)  # [T, G, K]
    v = ops.heads(projection(ops, w, "attn_v", c.n_kv_heads * c.head_dim, h), c.n_kv_heads)  # [T, G, K]
    return ops.attention(ops.rope(q, rope), ops.rope(k, rope), v, layer=layer, scale=c.head_dim**-0.5)


def block(ops: Ops, w: Weights, c: Config, layer: int, rope: Rope, x: Value) -> Value:
    """Run one layer: [T, D] -> [T, D]."""
    h = ops.rms_norm(x, w("attn_norm.weight", c.d_model), c.norm_eps)
    a = attention(ops, w, c, layer, rope, h)
    x = ops.add(x, projection(ops, w, "attn_output", c.d_model, a))
    return ops.add(x, swiglu(ops, w, c.d_ff, ops.rms_norm(x, w("ffn_norm.weight", c.d_model), c.norm_eps)))


def trunk(ops: Ops, w: Weights, c: Config) -> None:
    """Turn tokens into `logits` [W, V], and `hidden` [X, D] where the file has a draft head.

    Source: Touvron et al. 2023 (arXiv:2302.13971), Llama Team 2024 (arXiv:2407.21783).
    """
    rope = rotary(w, c)
    x = ops.embed(w("token_embd.weight", c.n_vocab, c.d_model))  # [T, D]
    for layer in range(c.n_layers):
        x = block(ops, w.scoped(f"blk.{layer}."), c, layer, rope, x)
    end(ops, w, c, x)


def draft(ops: Ops, w: Weights, c: Config) -> None:
    """Run the multi-token-prediction head, a block like the trunk's; see `mtp.draft`."""
    rope = rotary(w, c)
    mtp.draft(ops, w, c, lambda layer, m, x: block(ops, m, c, layer, rope, x))


DEFINITION = Definition(arch="llama", config=Config, trunk=trunk, draft=draft)
