"""Qwen3: pre-norm transformer with query/key norm and SwiGLU."""

from __future__ import annotations

from outpace.gguf.weights import Weights
from outpace.graph.ops import Ops, Rope, Value
from outpace.models import mtp
from outpace.models.blocks import end, swiglu
from outpace.models.definition import Definition
from outpace.models.dense import Config


def rotary(c: Config) -> Rope:
    """Return the rotary embedding, which pairs the halves of a head."""
    return Rope(c.rope_dims, c.rope_base, "neox", c.rope_scale)


def attention(ops: Ops, w: Weights, c: Config, layer: int, rope: Rope, h: Value) -> Value:
    """Attend with grouped heads, queries and keys normalised per head: [T, D] -> [T, H * K]."""
    q = ops.heads(ops.linear(h, w("attn_q.weight", c.n_heads * c.head_dim, c.d_model)), c.n_heads)  # [T, H, K]
    k = ops.heads(ops.linear(h, w("attn_k.weight", c.n_kv_heads * c.head_dim, c.d_model)), c.n_kv_heads)  # [T, G, K]
    v = ops.heads(ops.linear(h, w("attn_v.weight", c.n_kv_heads * c.head_dim, c.d_model)), c.n_kv_heads)  # [T, G, K]
    q = ops.rope(ops.rms_norm(q, w("attn_q_norm.weight", c.head_dim), c.norm_eps), rope)
    k = ops.rope(ops.rms_norm(k, w("attn_k_norm.weight", c.head_dim), c.norm_eps), rope)
    return ops.attention(q, k, v, layer=layer, scale=c.head_dim**-0.5)


def block(ops: Ops, w: Weights, c: Config, layer: int, rope: Rope, x: Value) -> Value:
    """Run one layer: [T, D] -> [T, D]."""
    h = ops.rms_norm(x, w("attn_norm.weight", c.d_model), c.norm_eps)
    a = attention(ops, w, c, layer, rope, h)
    x = ops.add(x, ops.linear(a, w("attn_output.weight", c.d_model, c.n_heads * c.head_dim)))
    return ops.add(x, swiglu(ops, w, c.d_ff, ops.rms_norm(x, w("ffn_norm.weight", c.d_model), c.norm_eps)))


def trunk(ops: Ops, w: Weights, c: Config) -> None:
    """Turn tokens into `logits` [W, V], and `hidden` [X, D] where the file has a draft head.

    Source: Qwen Team 2025 (arXiv:2505.09388).
    """
    rope = rotary(c)
    x = ops.embed(w("token_embd.weight", c.n_vocab, c.d_model))  # [T, D]
    for layer in range(c.n_layers):
        x = block(ops, w.scoped(f"blk.{layer}."), c, layer, rope, x)
    end(ops, w, c, x)


def draft(ops: Ops, w: Weights, c: Config) -> None:
    """Run the multi-token-prediction head, a block like the trunk's; see `mtp.draft`."""
    rope = rotary(c)
    mtp.draft(ops, w, c, lambda layer, m, x: block(ops, m, c, layer, rope, x))


DEFINITION = Definition(arch="qwen3", config=Config, trunk=trunk, draft=draft)
