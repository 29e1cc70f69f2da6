"""Llama 2 and 3, SmolLM2: rows of queries and keys are reordered, because GGUF pairs neighbours for the rotation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from outpace.convert.architectures import dense, rope
from outpace.convert.checkpoint import Checkpoint
from outpace.convert.content import Content
from outpace.convert.rows import Changed, Picked, Rows

ARCH = "llama"


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
    d = sizes.d_model
    n_q, n_kv = sizes.n_heads * sizes.head_dim, sizes.n_kv_heads * sizes.head_dim
    shapes = {"q": (n_q, d), "k": (n_kv, d), "v": (n_kv, d), "o": (d, n_q)}
    names = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output"}
    found: dense.Tensors = {
        f"{target}attn_norm.weight": checkpoint.take(f"{source}input_layernorm.weight", d),
        f"{target}ffn_norm.weight": checkpoint.take(f"{source}post_attention_layernorm.weight", d),
    }
    for part, shape in shapes.items():
        turned = neighbours(shape[0], sizes.head_dim) if part in "qk" else None
        weight = checkpoint.take(f"{source}self_attn.{part}_proj.weight", *shape)
        found[f"{target}{names[part]}.weight"] = weight if turned is None else Picked(weight, turned)
        if checkpoint.has(f"{source}self_attn.{part}_proj.bias"):
            bias = checkpoint.take(f"{source}self_attn.{part}_proj.bias", shape[0])
            found[f"{target}{names[part]}.bias"] = bias if turned is None else _reordered(bias, turned)
    return found | dense.feed_forward(checkpoint, f"{source}mlp.", target, d, d_ff)


def neighbours(n: int, head_dim: int) -> NDArray[np.int64]:
    """Return the order that puts the two halves of each head side by side: 0, K/2, 1, K/2 + 1, ..."""
    heads = np.arange(n, dtype=np.int64).reshape(-1, 2, head_dim // 2)
    return heads.transpose(0, 2, 1).reshape(-1)


def _reordered(bias: Rows, order: NDArray[np.int64]) -> Rows:
    return Changed(bias, lambda x: x[:, order])
