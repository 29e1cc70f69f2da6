"""Tiny transformer files with random weights: every architecture, F32, made in milliseconds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from bench import hybrid
from tests.support.toy_metadata import toy_gpt2

from outpace.gguf.types import GGMLType
from outpace.gguf.writer import write_gguf

# Of `llama` and `qwen3`; `n_mtp` layers after the others are a draft head.
SIZES = {
    "d_model": 32,
    "d_ff": 48,
    "n_heads": 4,
    "n_kv_heads": 2,
    "head_dim": 16,
    "n_vocab": 64,
    "n_layers": 2,
    "n_mtp": 0,
}


# Of the hybrid family: every second layer attention, and a draft layer.
HYBRID = hybrid.Sizes(
    n_layers=2,
    d_model=32,
    d_ff=48,
    n_heads=4,
    n_kv_heads=2,
    head_dim=16,
    n_key_heads=2,
    n_value_heads=4,
    delta_dim=8,
    vocab=64,
    tied=False,
    interval=2,
    context=512,
    rope_base=10000.0,
)


def hybrid_sizes(arch: str, tied: bool = False, **sizes: Any) -> hybrid.Sizes:
    """Sizes of a tiny file of the hybrid family."""
    mixture = None if arch == "qwen35" else hybrid.Experts(4, 2, 24, 40)
    return replace(HYBRID, **({"tied": tied, "experts": mixture} | sizes))


def metadata(arch: str = "llama", **sizes: int) -> dict[str, Any]:
    """The keys of a file of this architecture."""
    if arch in hybrid.ARCHS:
        return hybrid.keys(arch, hybrid_sizes(arch, **sizes))
    n = SIZES | sizes
    return {
        "general.architecture": arch,
        f"{arch}.block_count": n["n_layers"] + n["n_mtp"],
        **({f"{arch}.nextn_predict_layers": n["n_mtp"]} if n["n_mtp"] else {}),
        f"{arch}.context_length": 512,
        f"{arch}.embedding_length": n["d_model"],
        f"{arch}.feed_forward_length": n["d_ff"],
        f"{arch}.attention.head_count": n["n_heads"],
        f"{arch}.attention.head_count_kv": n["n_kv_heads"],
        f"{arch}.attention.key_length": n["head_dim"],
        f"{arch}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{arch}.rope.freq_base": 10000.0,
        f"{arch}.rope.dimension_count": n["head_dim"],
        f"{arch}.vocab_size": n["n_vocab"],
    }


def shapes(arch: str = "llama", tied: bool = False, **sizes: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a file of this architecture."""
    if arch in hybrid.ARCHS:
        return hybrid.shapes(arch, hybrid_sizes(arch, tied, **sizes))
    n = SIZES | sizes
    d, f, k = n["d_model"], n["d_ff"], n["head_dim"]
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (n["n_vocab"], d), "output_norm.weight": (d,)}
    if not tied:
        found["output.weight"] = (n["n_vocab"], d)
    for layer in range(n["n_layers"] + n["n_mtp"]):
        names: dict[str, tuple[int, ...]] = {
            "attn_norm": (d,),
            "attn_q": (n["n_heads"] * k, d),
            "attn_k": (n["n_kv_heads"] * k, d),
            "attn_v": (n["n_kv_heads"] * k, d),
            "attn_output": (d, n["n_heads"] * k),
            "ffn_norm": (d,),
            "ffn_gate": (f, d),
            "ffn_up": (f, d),
            "ffn_down": (d, f),
        }
        if arch == "qwen3":
            names |= {"attn_q_norm": (k,), "attn_k_norm": (k,)}
        if layer >= n["n_layers"]:
            names |= {"nextn.eh_proj": (d, 2 * d), "nextn.enorm": (d,), "nextn.hnorm": (d,)}
            names["nextn.shared_head_norm"] = (d,)
        found |= {f"blk.{layer}.{name}.weight": shape for name, shape in names.items()}
    return found


def arrays(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights: norms near 1, matrices that keep the size of what they multiply."""
    random = np.random.default_rng(seed)
    found = {}
    for name, shape in shapes.items():
        values = hybrid.small(name, shape, random) if "ssm_" in name else None
        if "norm" in name:
            values = random.normal(1, 0.1, shape)
        elif values is None:
            values = random.normal(0, (1 if "token_embd" in name else shape[-1] ** -0.5), shape)
        found[name] = values.astype(np.float32)
    return found


def write(path: Path, keys: dict[str, Any], tensors: dict[str, np.ndarray]) -> Path:
    """Write F32 tensors."""
    write_gguf(path, keys, {name: (GGMLType.F32, array.shape, array) for name, array in tensors.items()})
    return path


def write_speaking(
    path: Path, arch: str = "llama", *, seed: int = 0, context: int = 512, template: str | None = None, **sizes: int
) -> Path:
    """Write a whole tiny model with the toy tokenizer of bytes, and a chat template if one is given."""
    text = toy_gpt2() if template is None else toy_gpt2(chat_template=template)
    sizes |= {"vocab" if arch in hybrid.ARCHS else "n_vocab": len(text["tokenizer.ggml.tokens"])}
    keys = metadata(arch, **sizes) | text | {f"{arch}.context_length": context}
    return write(path, keys, arrays(shapes(arch, **sizes), seed))


def write_tiny(path: Path, arch: str = "llama", *, tied: bool = False, seed: int = 0, **sizes: int) -> Path:
    """Write a whole tiny model."""
    return write(path, metadata(arch, **sizes), arrays(shapes(arch, tied, **sizes), seed))
