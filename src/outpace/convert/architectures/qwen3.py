"""Qwen3: names change, values do not."""

from __future__ import annotations

from outpace.convert.architectures import dense, rope
from outpace.convert.checkpoint import Checkpoint
from outpace.convert.content import Content

ARCH = "qwen3"


def read(checkpoint: Checkpoint) -> Content:
    """Return the model; see `architectures.read_architecture`."""
    settings, sizes = checkpoint.settings, dense.Sizes(checkpoint.settings)
    d_ff = settings.count("intermediate_size")
    rope_keys, tensors = rope.keys(ARCH, settings, sizes.head_dim)
    tensors |= dense.outer(checkpoint, sizes)
    for layer in range(sizes.n_layers):
        tensors |= _layer(checkpoint, sizes, d_ff, f"model.layers.{layer}.", f"blk.{layer}.")
    n_mtp, target = dense.n_mtp(checkpoint), f"blk.{sizes.n_layers}."
    if n_mtp:
        tensors |= _layer(checkpoint, sizes, d_ff, "mtp.layers.0.", target) | dense.mtp(checkpoint, sizes, target)
    keys = dense.keys(ARCH, settings, sizes) | {f"{ARCH}.feed_forward_length": d_ff} | rope_keys
    keys |= dense.mtp_keys(ARCH, sizes, n_mtp)
    return Content(ARCH, keys, tensors, sizes.n_layers, n_mtp, dense.mtp_notes(settings, n_mtp))


def _layer(checkpoint: Checkpoint, sizes: dense.Sizes, d_ff: int, source: str, target: str) -> dense.Tensors:
    """Return a layer's tensors: from `model.layers.0.` to `blk.0.`."""
    d, n_q, n_kv = sizes.d_model, sizes.n_heads * sizes.head_dim, sizes.n_kv_heads * sizes.head_dim
    named = {
        "attn_norm": ("input_layernorm", (d,)),
        "ffn_norm": ("post_attention_layernorm", (d,)),
        "attn_q": ("self_attn.q_proj", (n_q, d)),
        "attn_k": ("self_attn.k_proj", (n_kv, d)),
        "attn_v": ("self_attn.v_proj", (n_kv, d)),
        "attn_q_norm": ("self_attn.q_norm", (sizes.head_dim,)),
        "attn_k_norm": ("self_attn.k_norm", (sizes.head_dim,)),
        "attn_output": ("self_attn.o_proj", (d, n_q)),
    }
    found = {
        f"{target}{name}.weight": checkpoint.take(f"{source}{stored}.weight", *shape)
        for name, (stored, shape) in named.items()
    }
    return found | dense.feed_forward(checkpoint, f"{source}mlp.", target, d, d_ff)
