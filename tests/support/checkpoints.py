"""Hugging Face folders with random weights, written without anybody's library."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

CODES = {"<f4": "F32", "<f2": "F16", "<f8": "F64", "<u2": "BF16", "|i1": "I8", "|u1": "F8_E4M3"}

HYBRID = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 6,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "linear_conv_kernel_dim": 4,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "vocab_size": 80,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25},
}
EXPERTS = {
    "num_experts": 3,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 64,
}


def safetensors(arrays: dict[str, np.ndarray]) -> bytes:
    """The bytes of a file; a uint16 array stands for bfloat16."""
    header, at = {}, 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": CODES[array.dtype.str],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes
    text = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(np.ascontiguousarray(a).tobytes() for a in arrays.values())


def write_folder(folder: Path, config: dict[str, Any], arrays: dict[str, np.ndarray], n_shards: int = 1) -> Path:
    """Write config.json and the tensors, in one file or in shards with an index."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if n_shards == 1:
        (folder / "model.safetensors").write_bytes(safetensors(arrays))
        return folder
    names, places = list(arrays), {}
    for i in range(n_shards):
        file = f"model-{i + 1:05}-of-{n_shards:05}.safetensors"
        mine = names[i::n_shards]
        (folder / file).write_bytes(safetensors({name: arrays[name] for name in mine}))
        places |= dict.fromkeys(mine, file)
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def hybrid_shapes(config: dict[str, Any], kind: str = "dense", n_mtp: int = 1) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a Qwen3.5 checkpoint (dense, experts, fused experts) or a Qwen3-Next one."""
    c = config
    d, v, k = c["hidden_size"], c["vocab_size"], c["head_dim"]
    n_q, n_kv = c["num_attention_heads"] * k, c["num_key_value_heads"] * k
    qk = c["linear_num_key_heads"] * c["linear_key_head_dim"]
    heads = c["linear_num_value_heads"]
    values = heads * c["linear_value_head_dim"]

    def mlp(prefix):
        if kind == "dense":
            f = c["intermediate_size"]
            return {
                f"{prefix}gate_proj.weight": (f, d),
                f"{prefix}up_proj.weight": (f, d),
                f"{prefix}down_proj.weight": (d, f),
            }
        n, f, s = c["num_experts"], c["moe_intermediate_size"], c["shared_expert_intermediate_size"]
        found = {f"{prefix}gate.weight": (n, d), f"{prefix}shared_expert_gate.weight": (1, d)}
        if kind == "fused":
            found |= {f"{prefix}experts.gate_up_proj": (n, 2 * f, d), f"{prefix}experts.down_proj": (n, d, f)}
        else:
            for i in range(n):
                at = f"{prefix}experts.{i}."
                found |= {
                    f"{at}gate_proj.weight": (f, d),
                    f"{at}up_proj.weight": (f, d),
                    f"{at}down_proj.weight": (d, f),
                }
        at = f"{prefix}shared_expert."
        return found | {f"{at}gate_proj.weight": (s, d), f"{at}up_proj.weight": (s, d), f"{at}down_proj.weight": (d, s)}

    def attention(prefix):
        shapes = {"q_proj": (2 * n_q, d), "k_proj": (n_kv, d), "v_proj": (n_kv, d), "o_proj": (d, n_q)}
        shapes |= {"q_norm": (k,), "k_norm": (k,)}
        return {f"{prefix}self_attn.{name}.weight": shape for name, shape in shapes.items()}

    def recurrent(prefix):
        at = f"{prefix}linear_attn."
        found = {f"{at}A_log": (heads,), f"{at}dt_bias": (heads,), f"{at}norm.weight": (c["linear_value_head_dim"],)}
        found |= {f"{at}conv1d.weight": (2 * qk + values, 1, 4), f"{at}out_proj.weight": (d, values)}
        if kind == "next":
            return found | {
                f"{at}in_proj_qkvz.weight": (2 * qk + 2 * values, d),
                f"{at}in_proj_ba.weight": (2 * heads, d),
            }
        found |= {f"{at}in_proj_qkv.weight": (2 * qk + values, d), f"{at}in_proj_z.weight": (values, d)}
        return found | {f"{at}in_proj_a.weight": (heads, d), f"{at}in_proj_b.weight": (heads, d)}

    def norms(prefix):
        return {f"{prefix}input_layernorm.weight": (d,), f"{prefix}post_attention_layernorm.weight": (d,)}

    found = {"model.embed_tokens.weight": (v, d), "model.norm.weight": (d,), "lm_head.weight": (v, d)}
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        mixer = attention if layer % 4 == 3 else recurrent
        found |= norms(at) | mixer(at) | mlp(f"{at}mlp.")
    for layer in range(n_mtp):
        at = f"mtp.layers.{layer}."
        found |= norms(at) | attention(at) | mlp(f"{at}mlp.")
    if n_mtp:
        found |= {"mtp.fc.weight": (d, 2 * d), "mtp.norm.weight": (d,)}
        found |= {"mtp.pre_fc_norm_embedding.weight": (d,), "mtp.pre_fc_norm_hidden.weight": (d,)}
    return found


def random_arrays(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """Random float32 weights."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}


def write_hybrid(folder: Path, kind: str = "dense", n_mtp: int = 1, n_shards: int = 1, **changes: Any) -> Path:
    """Write a whole tiny hybrid model."""
    types = {"dense": "qwen3_5_text", "separate": "qwen3_5_moe_text", "fused": "qwen3_5_moe_text", "next": "qwen3_next"}
    config = HYBRID | ({} if kind == "dense" else EXPERTS) | {"model_type": types[kind]} | changes
    return write_folder(folder, config, random_arrays(hybrid_shapes(config, kind, n_mtp)), n_shards)
