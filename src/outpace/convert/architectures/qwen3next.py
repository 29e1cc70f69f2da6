"""Qwen3-Next: as Qwen3.5 with experts, but a gated-delta layer's inputs are mixed, and its value heads stay grouped."""

from __future__ import annotations

import numpy as np

from outpace.convert.architectures import dense, experts, hybrid
from outpace.convert.checkpoint import Checkpoint
from outpace.convert.content import Content
from outpace.convert.rows import Picked

ARCH = "qwen3next"


def read(checkpoint: Checkpoint) -> Content:
    """Return the model; see `architectures.read_architecture`."""
    return hybrid.read(ARCH, checkpoint, _recurrent, experts.mlp, lambda each: experts.keys(ARCH, each))


def _recurrent(checkpoint: Checkpoint, sizes: hybrid.Sizes, source: str, target: str) -> dense.Tensors:
    """Take apart rows stored as [q, k, values, gates] of one key head after another; b and a stay as they are."""
    d, k, heads = sizes.d_model, sizes.k_dim, sizes.k_heads
    n_v = sizes.n_v // heads
    rows = np.arange(heads * (2 * k + 2 * n_v), dtype=np.int64).reshape(heads, -1)
    q, key, value, gate = (part.reshape(-1) for part in np.split(rows, [k, 2 * k, 2 * k + n_v], axis=1))
    take = checkpoint.take
    mixed = take(f"{source}in_proj_qkvz.weight", rows.size, d)
    return {
        f"{target}attn_qkv.weight": Picked(mixed, np.concatenate([q, key, value])),
        f"{target}attn_gate.weight": Picked(mixed, gate),
        f"{target}ssm_ba.weight": take(f"{source}in_proj_ba.weight", 2 * sizes.v_heads, d),
        f"{target}ssm_a": hybrid.rate(take(f"{source}A_log", sizes.v_heads)),
        f"{target}ssm_dt.bias": take(f"{source}dt_bias", sizes.v_heads),
        f"{target}ssm_conv1d.weight": hybrid.channels(checkpoint, sizes, source),
        f"{target}ssm_out.weight": take(f"{source}out_proj.weight", d, sizes.n_v),
    }
