"""What a file of the Qwen3.5 family holds: keys, tensor shapes, and random values that keep its states in bounds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from outpace.gguf.types import ValueType
from outpace.gguf.writer import Typed

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Experts:
    """Sizes of a mixture: experts, how many a row uses, their width and the shared one's."""

    n: int
    n_used: int
    d_ff: int
    d_shared: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of a model of the family; every `interval`-th layer is attention, then come `n_mtp` draft layers."""

    n_layers: int
    d_model: int
    d_ff: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    n_key_heads: int
    n_value_heads: int
    delta_dim: int
    vocab: int
    tied: bool
    experts: Experts | None = None
    n_mtp: int = 1
    interval: int = 4
    conv_kernel: int = 4
    context: int = 262144
    norm_eps: float = 1e-6
    rope_base: float = 1e7
    fused_in: bool = False  # older qwen3next files: queries, keys, values and gates in one matrix

    @property
    def conv_channels(self) -> int:
        """Queries, keys and values of a gated-delta layer."""
        return (2 * self.n_key_heads + self.n_value_heads) * self.delta_dim

    def is_recurrent(self, layer: int) -> bool:
        """Return whether a layer of the trunk is a gated-delta layer."""
        return layer < self.n_layers and (layer + 1) % self.interval != 0


_TINY = Sizes(4, 256, 512, 4, 2, 64, 2, 4, 64, 1024, tied=False)
_TINY_EXPERTS = replace(_TINY, d_ff=0, experts=Experts(8, 2, 256, 256))
# Sizes of the published models.
SIZES = MappingProxyType(
    {
        ("qwen35", "tiny"): _TINY,
        ("qwen35", "0.8b"): Sizes(24, 1024, 3584, 8, 2, 256, 16, 16, 128, 248320, tied=True),
        ("qwen35", "4b"): Sizes(32, 2560, 9216, 16, 4, 256, 16, 32, 128, 248320, tied=True),
        ("qwen35", "27b"): Sizes(64, 5120, 17408, 24, 4, 256, 16, 48, 128, 248320, tied=False),
        ("qwen35moe", "tiny"): _TINY_EXPERTS,
        ("qwen35moe", "35b-a3b"): Sizes(
            40, 2048, 0, 16, 2, 256, 16, 32, 128, 248320, tied=False, experts=Experts(256, 8, 512, 512)
        ),
        ("qwen3next", "tiny"): _TINY_EXPERTS,
        ("qwen3next", "80b-a3b"): Sizes(
            48, 2048, 0, 16, 2, 256, 16, 32, 128, 151936, tied=False, experts=Experts(512, 10, 512, 512)
        ),
    }
)
ARCHS = tuple(dict.fromkeys(arch for arch, _ in SIZES))


def keys(arch: str, n: Sizes) -> dict[str, Any]:
    """Return the metadata of a file, without its tokenizer."""
    n_all = n.n_layers + n.n_mtp
    found = {
        "general.architecture": arch,
        f"{arch}.block_count": n_all,
        f"{arch}.context_length": n.context,
        f"{arch}.embedding_length": n.d_model,
        f"{arch}.attention.head_count": n.n_heads,
        f"{arch}.attention.head_count_kv": n.n_kv_heads,
        f"{arch}.attention.key_length": n.head_dim,
        f"{arch}.attention.value_length": n.head_dim,
        f"{arch}.attention.layer_norm_rms_epsilon": n.norm_eps,
        f"{arch}.attention.recurrent_layers": Typed(ValueType.BOOL, [n.is_recurrent(i) for i in range(n_all)]),
        f"{arch}.full_attention_interval": n.interval,
        f"{arch}.rope.freq_base": n.rope_base,
        f"{arch}.rope.dimension_count": n.head_dim // 4,
        f"{arch}.ssm.conv_kernel": n.conv_kernel,
        f"{arch}.ssm.state_size": n.delta_dim,
        f"{arch}.ssm.group_count": n.n_key_heads,
        f"{arch}.ssm.time_step_rank": n.n_value_heads,
        f"{arch}.ssm.inner_size": n.n_value_heads * n.delta_dim,
        f"{arch}.vocab_size": n.vocab,
    }
    if arch != "qwen3next":
        pairs = n.head_dim // 8
        sections = [pairs - 2 * (pairs // 3), pairs // 3, pairs // 3, 0]
        found[f"{arch}.rope.dimension_sections"] = Typed(ValueType.INT32, sections)
    if n.n_mtp:
        found[f"{arch}.nextn_predict_layers"] = n.n_mtp
    if n.experts:
        found |= {
            f"{arch}.expert_count": n.experts.n,
            f"{arch}.expert_used_count": n.experts.n_used,
            f"{arch}.expert_feed_forward_length": n.experts.d_ff,
            f"{arch}.expert_shared_feed_forward_length": n.experts.d_shared,
        }
    else:
        found[f"{arch}.feed_forward_length"] = n.d_ff
    return found


def shapes(arch: str, n: Sizes) -> Shapes:
    """Return the name and shape of every tensor, in the order of a file."""
    found: Shapes = {"token_embd.weight": (n.vocab, n.d_model), "output_norm.weight": (n.d_model,)}
    if not n.tied:
        found["output.weight"] = (n.vocab, n.d_model)
    for layer in range(n.n_layers + n.n_mtp):
        inner = _delta(arch, n) if n.is_recurrent(layer) else _attention(n)
        block = {"attn_norm.weight": (n.d_model,), "post_attention_norm.weight": (n.d_model,)} | inner | _network(n)
        if layer >= n.n_layers:
            block["nextn.eh_proj.weight"] = (n.d_model, 2 * n.d_model)
            block |= {f"nextn.{name}.weight": (n.d_model,) for name in ("enorm", "hnorm", "shared_head_norm")}
        found |= {f"blk.{layer}.{name}": shape for name, shape in block.items()}
    return found


def _attention(n: Sizes) -> Shapes:
    return {
        "attn_q.weight": (2 * n.n_heads * n.head_dim, n.d_model),
        "attn_k.weight": (n.n_kv_heads * n.head_dim, n.d_model),
        "attn_v.weight": (n.n_kv_heads * n.head_dim, n.d_model),
        "attn_q_norm.weight": (n.head_dim,),
        "attn_k_norm.weight": (n.head_dim,),
        "attn_output.weight": (n.d_model, n.n_heads * n.head_dim),
    }


def _delta(arch: str, n: Sizes) -> Shapes:
    values = n.n_value_heads * n.delta_dim
    found: Shapes = {
        "attn_qkv.weight": (n.conv_channels, n.d_model),
        "attn_gate.weight": (values, n.d_model),
        "ssm_conv1d.weight": (n.conv_channels, n.conv_kernel),
        "ssm_dt.bias": (n.n_value_heads,),
        "ssm_a": (n.n_value_heads,),
        "ssm_norm.weight": (n.delta_dim,),
        "ssm_out.weight": (n.d_model, values),
    }
    if n.fused_in:
        del found["attn_qkv.weight"], found["attn_gate.weight"]
        found["ssm_in.weight"] = (n.conv_channels + values, n.d_model)
    names = ("ssm_ba.weight",) if arch == "qwen3next" else ("ssm_alpha.weight", "ssm_beta.weight")
    return found | {name: (2 * n.n_value_heads // len(names), n.d_model) for name in names}


def _network(n: Sizes) -> Shapes:
    if n.experts is None:
        return {
            "ffn_gate.weight": (n.d_ff, n.d_model),
            "ffn_up.weight": (n.d_ff, n.d_model),
            "ffn_down.weight": (n.d_model, n.d_ff),
        }
    e = n.experts
    return {
        "ffn_gate_inp.weight": (e.n, n.d_model),
        "ffn_gate_exps.weight": (e.n, e.d_ff, n.d_model),
        "ffn_up_exps.weight": (e.n, e.d_ff, n.d_model),
        "ffn_down_exps.weight": (e.n, n.d_model, e.d_ff),
        "ffn_gate_inp_shexp.weight": (n.d_model,),
        "ffn_gate_shexp.weight": (e.d_shared, n.d_model),
        "ffn_up_shexp.weight": (e.d_shared, n.d_model),
        "ffn_down_shexp.weight": (n.d_model, e.d_shared),
    }


def small(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray | None:
    """Return the float32 values of a tensor that is no plain matrix, or None.

    Memories fade with half-lives of two to two thousand tokens, as trained ones do.
    """
    part = name.removesuffix(".weight").rpartition(".")[2]
    if part == "ssm_a":
        values = -rng.uniform(1, 16, shape)
    elif name.endswith("ssm_dt.bias"):
        values = np.log(np.expm1(np.exp(rng.uniform(np.log(3e-4), np.log(0.03), shape))))
    elif part == "ssm_conv1d":
        values = rng.normal(0, 0.3, shape)
        values[:, -1] += 1
    elif part.endswith("norm"):
        values = rng.normal(1, 0.05, shape)
    elif part == "ffn_gate_inp_shexp":
        values = rng.normal(0, shape[-1] ** -0.5, shape)
    else:
        return None
    return values.astype(np.float32)
