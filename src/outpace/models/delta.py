"""Blocks of the hybrid family: gated-delta layers, gated attention, and the trunk and draft program made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from outpace.gguf.weights import Weights
from outpace.graph.ops import Ops, Rope, Value
from outpace.models import mtp
from outpace.models.blocks import end, experts, swiglu
from outpace.models.hybrid import Config

# Added to the sum of squares when queries and keys are normalised: the published code has it fixed.
L2_EPS = 1e-6


class Projected(NamedTuple):
    """What a gated-delta layer projects its input to."""

    qkv: Value  # [T, C]: queries, keys, values
    z: Value  # rows of H * V numbers: the output's gate
    a: Value  # rows of H numbers
    b: Value  # rows of H numbers


# Projects the input of a gated-delta layer: architectures differ in how the matrices are cut.
Projection: TypeAlias = Callable[[Ops, Weights, Config, Value], Projected]


def projected(ops: Ops, w: Weights, c: Config, x: Value) -> Projected:
    """Project with one matrix for each part."""
    return Projected(
        ops.linear(x, w("attn_qkv.weight", c.conv_channels, c.d_model)),
        ops.linear(x, w("attn_gate.weight", c.n_value_heads * c.value_dim, c.d_model)),
        ops.linear(x, w("ssm_alpha.weight", c.n_value_heads, c.d_model)),
        ops.linear(x, w("ssm_beta.weight", c.n_value_heads, c.d_model)),
    )


def gated_delta(ops: Ops, w: Weights, c: Config, layer: int, parts: Projected, *, tiled: bool) -> Value:
    """Convolve, update and read the layer's memory, norm, gate and project -> [T, D].

    Source: Yang et al. 2024 (arXiv:2412.06464).
    """
    keys = c.n_key_heads * c.key_dim
    qkv = ops.silu(ops.conv(parts.qkv, w("ssm_conv1d.weight", c.conv_channels, c.conv_kernel), layer=layer))
    q = ops.l2_norm(ops.heads(ops.part(qkv, 0, keys), c.n_key_heads), L2_EPS)  # [T, G, K]
    k = ops.l2_norm(ops.heads(ops.part(qkv, keys, keys), c.n_key_heads), L2_EPS)  # [T, G, K]
    v = ops.heads(ops.part(qkv, 2 * keys, c.n_value_heads * c.value_dim), c.n_value_heads)  # [T, H, V]
    decay = ops.decay(parts.a, w("ssm_a", c.n_value_heads), w("ssm_dt.bias", c.n_value_heads))
    beta = ops.sigmoid(parts.b)
    y = ops.gated_delta(ops.scale(q, c.key_dim**-0.5), k, v, decay, beta, layer=layer, tiled=tiled)
    y = ops.rms_norm(y, w("ssm_norm.weight", c.value_dim), c.norm_eps)
    y = ops.mul(ops.silu(ops.heads(parts.z, c.n_value_heads)), y)  # [T, H, V]
    return ops.linear(y, w("ssm_out.weight", c.d_model, c.n_value_heads * c.value_dim))


def gated_attention(ops: Ops, w: Weights, c: Config, layer: int, x: Value) -> Value:
    """Attend with normalised, partly turned heads, gate by sigmoid and project: x [T, D] -> [T, D].

    `attn_q` holds, for each head, its query and then its gate.
    """
    d_model, width = c.d_model, c.head_dim
    # Positions of text are the same in every section of the multi-section rotary embedding, which makes it this one.
    rope = Rope(c.rope_dims, c.rope_base, "neox", c.rope_scale)
    q_gate = ops.heads(ops.linear(x, w("attn_q.weight", 2 * c.n_heads * width, d_model)), c.n_heads)  # [T, H, 2 K]
    k = ops.heads(ops.linear(x, w("attn_k.weight", c.n_kv_heads * width, d_model)), c.n_kv_heads)  # [T, G, K]
    v = ops.heads(ops.linear(x, w("attn_v.weight", c.n_kv_heads * width, d_model)), c.n_kv_heads)  # [T, G, K]
    q = ops.rms_norm(ops.part(q_gate, 0, width), w("attn_q_norm.weight", width), c.norm_eps)
    k = ops.rms_norm(k, w("attn_k_norm.weight", width), c.norm_eps)
    a = ops.attention(ops.rope(q, rope), ops.rope(k, rope), v, layer=layer, scale=width**-0.5)
    gate = ops.sigmoid(ops.part(q_gate, width, width))  # [T, H, K]
    return ops.linear(ops.mul(ops.heads(a, c.n_heads), gate), w("attn_output.weight", d_model, c.n_heads * width))


class Family(NamedTuple):
    """What tells the architectures of the family apart.

    Attributes:
        project: How a gated-delta layer's input is projected.
        tiled: Whether value heads go round the key heads, instead of one key head's following each other.
    """

    project: Projection
    tiled: bool


def block(ops: Ops, w: Weights, c: Config, family: Family, layer: int, is_recurrent: bool, x: Value) -> Value:
    """Run one layer: [T, D] -> [T, D]."""
    h = ops.rms_norm(x, w("attn_norm.weight", c.d_model), c.norm_eps)
    if is_recurrent:
        y = gated_delta(ops, w, c, layer, family.project(ops, w, c, h), tiled=family.tiled)
    else:
        y = gated_attention(ops, w, c, layer, h)
    x = ops.add(x, y)
    h = ops.rms_norm(x, w("post_attention_norm.weight", c.d_model), c.norm_eps)
    return ops.add(x, experts(ops, w, c.experts, h) if c.experts else swiglu(ops, w, c.d_ff, h))


def trunk(ops: Ops, w: Weights, c: Config, family: Family) -> None:
    """Turn tokens into `logits` [W, V], and `hidden` [X, D] where the file has a draft head."""
    x = ops.embed(w("token_embd.weight", c.n_vocab, c.d_model))  # [T, D]
    for layer, is_recurrent in enumerate(c.is_recurrent):
        x = block(ops, w.scoped(f"blk.{layer}."), c, family, layer, is_recurrent, x)
    end(ops, w, c, x)


def draft(ops: Ops, w: Weights, c: Config, family: Family) -> None:
    """Run the multi-token-prediction head: an attention layer of the family; see `mtp.draft`."""
    mtp.draft(ops, w, c, lambda layer, m, x: block(ops, m, c, family, layer, False, x))
