"""Value heads from grouped to tiled: all first heads of the groups, then all second ones, as GGUF has them.

A gated-delta layer with r value heads a key head stores them group by group: 0.0, 0.1, ..., 1.0, 1.1, ... GGUF wants
0.0, 1.0, ..., 0.1, 1.1, ..., so that repeating the keys as a whole lines them up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from outpace.convert.architectures import dense, hybrid
from outpace.convert.checkpoint import Checkpoint
from outpace.convert.rows import Changed, Picked, Rows


def order(sizes: hybrid.Sizes, width: int) -> NDArray[np.int64]:
    """Return the order of v_heads * width rows, `width` of them a head."""
    grouped = np.arange(sizes.v_heads * width, dtype=np.int64).reshape(sizes.k_heads, -1, width)
    return grouped.transpose(1, 0, 2).reshape(-1)


def recurrent(checkpoint: Checkpoint, sizes: hybrid.Sizes, source: str, target: str) -> dense.Tensors:
    """Return the tensors of a gated-delta layer whose inputs are stored apart (Qwen3.5)."""
    d, n_qk, n_v, v_heads = sizes.d_model, sizes.n_qk, sizes.n_v, sizes.v_heads
    heads, values = order(sizes, 1), order(sizes, sizes.v_dim)
    mixed = np.concatenate([np.arange(2 * n_qk, dtype=np.int64), 2 * n_qk + values])
    take = checkpoint.take
    return {
        f"{target}attn_qkv.weight": Picked(take(f"{source}in_proj_qkv.weight", 2 * n_qk + n_v, d), mixed),
        f"{target}attn_gate.weight": Picked(take(f"{source}in_proj_z.weight", n_v, d), values),
        f"{target}ssm_beta.weight": Picked(take(f"{source}in_proj_b.weight", v_heads, d), heads),
        f"{target}ssm_alpha.weight": Picked(take(f"{source}in_proj_a.weight", v_heads, d), heads),
        f"{target}ssm_a": hybrid.rate(_columns(take(f"{source}A_log", v_heads), heads)),
        f"{target}ssm_dt.bias": _columns(take(f"{source}dt_bias", v_heads), heads),
        f"{target}ssm_conv1d.weight": Picked(hybrid.channels(checkpoint, sizes, source), mixed),
        f"{target}ssm_out.weight": _columns(take(f"{source}out_proj.weight", d, n_v), values),
    }


def _columns(rows: Rows, columns: NDArray[np.int64]) -> Rows:
    return Changed(rows, lambda x: x[:, columns])
