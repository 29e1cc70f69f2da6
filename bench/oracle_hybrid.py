"""Transformers models of the Qwen3.5 family with the weights of a GGUF file: what a converter did, undone."""

from __future__ import annotations

from typing import Any

import numpy as np
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3_5ForCausalLM,
    Qwen3_5MoeForCausalLM,
    Qwen3_5MoeTextConfig,
    Qwen3_5TextConfig,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from outpace.gguf.file import GGUFFile
from outpace.gguf.quants import dequantize
from outpace.models.hybrid import Config

CLASSES: dict[str, tuple[type[PreTrainedConfig], type[PreTrainedModel]]] = {
    "qwen35": (Qwen3_5TextConfig, Qwen3_5ForCausalLM),
    "qwen35moe": (Qwen3_5MoeTextConfig, Qwen3_5MoeForCausalLM),
    "qwen3next": (Qwen3NextConfig, Qwen3NextForCausalLM),
}
LAYER = {
    "attn_norm.weight": "input_layernorm.weight",
    "post_attention_norm.weight": "post_attention_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_q_norm.weight": "self_attn.q_norm.weight",
    "attn_k_norm.weight": "self_attn.k_norm.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ssm_norm.weight": "linear_attn.norm.weight",
    "ssm_ba.weight": "linear_attn.in_proj_ba.weight",
    "ssm_in.weight": "linear_attn.in_proj_qkvz.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
    "ffn_gate_inp.weight": "mlp.gate.weight",
    "ffn_down_exps.weight": "mlp.experts.down_proj",
    "ffn_gate_shexp.weight": "mlp.shared_expert.gate_proj.weight",
    "ffn_up_shexp.weight": "mlp.shared_expert.up_proj.weight",
    "ffn_down_shexp.weight": "mlp.shared_expert.down_proj.weight",
}
TOP = {"token_embd.weight": "model.embed_tokens.weight", "output.weight": "lm_head.weight"}

Arrays = dict[str, np.ndarray]


def settings(c: Config) -> dict[str, Any]:
    """Return the fields of the transformers configuration."""
    found = {
        "hidden_size": c.d_model,
        "num_hidden_layers": c.n_layers,
        "num_attention_heads": c.n_heads,
        "num_key_value_heads": c.n_kv_heads,
        "head_dim": c.head_dim,
        "vocab_size": c.n_vocab,
        "max_position_embeddings": c.n_ctx_train,
        "rms_norm_eps": c.norm_eps,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": c.rope_base,
            "partial_rotary_factor": c.rope_dims / c.head_dim,
        },
        "layer_types": ["linear_attention" if each else "full_attention" for each in c.is_recurrent],
        "linear_conv_kernel_dim": c.conv_kernel,
        "linear_key_head_dim": c.key_dim,
        "linear_value_head_dim": c.value_dim,
        "linear_num_key_heads": c.n_key_heads,
        "linear_num_value_heads": c.n_value_heads,
        "attn_implementation": "eager",
    }
    if c.experts is None:
        return found | {"intermediate_size": c.d_ff}
    return found | {
        "num_experts": c.experts.n,
        "num_experts_per_tok": c.experts.n_used,
        "moe_intermediate_size": c.experts.d_ff,
        "shared_expert_intermediate_size": c.experts.d_shared,
    }


def weights(file: GGUFFile, c: Config) -> Arrays:
    """Return the trunk's weights by their transformers names."""

    def array(name: str) -> np.ndarray:
        info = file.tensors[name]
        return np.array(dequantize(file.data(name), info.type, info.shape))

    found = {theirs: array(name) for name, theirs in TOP.items() if name in file.tensors}
    found["model.norm.weight"] = array("output_norm.weight") - 1
    for layer in range(c.n_layers):
        prefix = f"blk.{layer}."
        block = {name.removeprefix(prefix): array(name) for name in file.tensors if name.startswith(prefix)}
        found |= {f"model.layers.{layer}.{name}": value for name, value in _layer(block, c).items()}
    return found


def _layer(block: Arrays, c: Config) -> Arrays:
    found = {theirs: block[name] for name, theirs in LAYER.items() if name in block}
    for name in found:
        # Norms are stored as what is added to 1, all but the gated one.
        if name.endswith("norm.weight") and not name.startswith("linear_attn"):
            found[name] = found[name] - 1
    if c.experts:
        gate_up = [block["ffn_gate_exps.weight"], block["ffn_up_exps.weight"]]
        found["mlp.experts.gate_up_proj"] = np.concatenate(gate_up, axis=1)
        found["mlp.shared_expert_gate.weight"] = block["ffn_gate_inp_shexp.weight"][None]
    if "ssm_a" in block:
        found |= _delta(block, c)
    return found


def _delta(block: Arrays, c: Config) -> Arrays:
    is_tiled = c.arch != "qwen3next"
    keys = 2 * c.n_key_heads * c.key_dim

    def grouped(x: np.ndarray, width: int = 1) -> np.ndarray:
        """Put value heads, `width` rows each, in the order of their key heads."""
        if not is_tiled:
            return x
        by_head = x.reshape(c.n_value_heads // c.n_key_heads, c.n_key_heads, width, *x.shape[1:])
        return by_head.swapaxes(0, 1).reshape(x.shape)

    conv = block["ssm_conv1d.weight"]
    found = {
        "linear_attn.A_log": np.log(-grouped(block["ssm_a"])),
        "linear_attn.dt_bias": grouped(block["ssm_dt.bias"]),
        "linear_attn.conv1d.weight": np.concatenate([conv[:keys], grouped(conv[keys:], c.value_dim)])[:, None],
        "linear_attn.out_proj.weight": grouped(block["ssm_out.weight"].T, c.value_dim).T,
    }
    if is_tiled:
        qkv = block["attn_qkv.weight"]
        found |= {
            "linear_attn.in_proj_qkv.weight": np.concatenate([qkv[:keys], grouped(qkv[keys:], c.value_dim)]),
            "linear_attn.in_proj_z.weight": grouped(block["attn_gate.weight"], c.value_dim),
            "linear_attn.in_proj_a.weight": grouped(block["ssm_alpha.weight"]),
            "linear_attn.in_proj_b.weight": grouped(block["ssm_beta.weight"]),
        }
    elif "attn_qkv.weight" in block:
        found["linear_attn.in_proj_qkvz.weight"] = _mixed(block["attn_qkv.weight"], block["attn_gate.weight"], c)
    return found


def _mixed(qkv: np.ndarray, z: np.ndarray, c: Config) -> np.ndarray:
    """Return one matrix that has query, key, values and gates of each key head in turn."""
    n, keys = c.n_key_heads, c.n_key_heads * c.key_dim
    parts = [qkv[:keys], qkv[keys : 2 * keys], qkv[2 * keys :], z]
    return np.concatenate([part.reshape(n, -1, c.d_model) for part in parts], axis=1).reshape(-1, c.d_model)
