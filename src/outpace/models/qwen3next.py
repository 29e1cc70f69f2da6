"""Qwen3-Next: gated-delta layers whose heads lie grouped by key head, gated attention, experts."""

from __future__ import annotations

from functools import partial

from outpace.gguf.weights import Weights
from outpace.graph.ops import Ops, Value
from outpace.models.definition import Definition
from outpace.models.delta import Family, Projected, draft, trunk
from outpace.models.hybrid import Config


def grouped(ops: Ops, w: Weights, c: Config, x: Value) -> Projected:
    """Project with `ssm_ba`, which holds b and a of each key head's value heads in turn, and likewise cut matrices.

    Older files also have queries, keys, values and gates in one matrix, `ssm_in`, in turn for each key head.
    """
    n_groups, share = c.n_key_heads, c.n_value_heads // c.n_key_heads
    ba = ops.heads(ops.linear(x, w("ssm_ba.weight", 2 * c.n_value_heads, c.d_model)), n_groups)  # [T, G, 2 H / G]
    b, a = ops.part(ba, 0, share), ops.part(ba, share, share)
    values = c.n_value_heads * c.value_dim
    if w.has("attn_qkv.weight"):
        qkv = ops.linear(x, w("attn_qkv.weight", c.conv_channels, c.d_model))
        return Projected(qkv, ops.linear(x, w("attn_gate.weight", values, c.d_model)), a, b)
    mixed = ops.heads(ops.linear(x, w("ssm_in.weight", c.conv_channels + values, c.d_model)), n_groups)
    width = share * c.value_dim
    q, k = ops.part(mixed, 0, c.key_dim), ops.part(mixed, c.key_dim, c.key_dim)
    v, z = ops.part(mixed, 2 * c.key_dim, width), ops.part(mixed, 2 * c.key_dim + width, width)
    return Projected(ops.concat(ops.concat(q, k), v), z, a, b)


FAMILY = Family(project=grouped, tiled=False)

DEFINITION = Definition(
    arch="qwen3next", config=Config, trunk=partial(trunk, family=FAMILY), draft=partial(draft, family=FAMILY)
)
