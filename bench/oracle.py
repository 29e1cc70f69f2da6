"""A transformers model with the weights of a GGUF file, dequantised to float32: the judge of ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from bench import oracle_hybrid
from outpace.gguf.file import GGUFFile
from outpace.gguf.quants import dequantize
from outpace.models.dense import Config

# GGUF name inside `blk.N.` -> transformers name inside `model.layers.N.`
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
CLASSES = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}


def load(file: GGUFFile, **overrides: Any) -> PreTrainedModel:
    """Return the model in float32 with plain attention, ready to be called.

    Args:
        file: An open file of an architecture that we have.
        overrides: Fields of the transformers configuration that the file's metadata does not carry.
    """
    arch = file.metadata.str("general.architecture")
    if arch in oracle_hybrid.CLASSES:
        hybrid = oracle_hybrid.Config.from_metadata(file.metadata)
        weights = oracle_hybrid.weights(file, hybrid)
        return _filled(file, *oracle_hybrid.CLASSES[arch], oracle_hybrid.settings(hybrid) | overrides, weights)
    c = Config.from_metadata(file.metadata)
    rope = {"rope_type": "default", "rope_theta": c.rope_base}
    if c.rope_scale != 1:
        rope |= {"rope_type": "linear", "factor": c.rope_scale}
    config_class, model_class = CLASSES[c.arch]
    settings = {
        "hidden_size": c.d_model,
        "intermediate_size": c.d_ff,
        "num_hidden_layers": c.n_layers,
        "num_attention_heads": c.n_heads,
        "num_key_value_heads": c.n_kv_heads,
        "head_dim": c.head_dim,
        "vocab_size": c.n_vocab,
        "max_position_embeddings": c.n_ctx_train,
        "rms_norm_eps": c.norm_eps,
        "rope_parameters": rope,
        "attn_implementation": "eager",
    }
    weights = {_name(name): _tensor(file, name, c) for name in file.tensors if name != "rope_freqs.weight"}
    return _filled(file, config_class, model_class, settings | overrides, weights)


def _filled(
    file: GGUFFile,
    config_class: type[PreTrainedConfig],
    model_class: type[PreTrainedModel],
    settings: dict[str, Any],
    weights: dict[str, np.ndarray],
) -> PreTrainedModel:
    """Return a model made without memory of its own, with these weights put in."""
    settings["tie_word_embeddings"] = "output.weight" not in file.tensors
    with torch.device("meta"):
        model = model_class(config_class(**settings))
    state = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in weights.items()}
    missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    assert not unexpected, f"unexpected tensors: {unexpected}"
    assert set(missing) <= {"lm_head.weight"}, f"missing tensors: {missing}"
    model.tie_weights()
    # Buffers are not in the state: compute the rotary frequencies, which the meta device left empty, again.
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
    return model.eval()


def logits(model: PreTrainedModel, tokens: Sequence[int]) -> np.ndarray:
    """Return the logits of every position, float32 [T, V]."""
    with torch.inference_mode():
        return model(torch.tensor([list(tokens)])).logits[0].float().numpy()


def hidden(model: PreTrainedModel, tokens: Sequence[int]) -> np.ndarray:
    """Return the state of every position after the output norm, float32 [T, D]."""
    with torch.inference_mode():
        return model.model(torch.tensor([list(tokens)])).last_hidden_state[0].float().numpy()


def _name(name: str) -> str:
    if name in TOP:
        return TOP[name]
    if not name.startswith("blk."):
        return "lm_head.weight"
    _, layer, piece, kind = name.split(".")
    return f"model.layers.{layer}.{LAYER[piece]}.{kind}"


def _tensor(file: GGUFFile, name: str, c: Config) -> np.ndarray:
    info = file.tensors[name]
    array = dequantize(file.data(name), info.type, info.shape)
    piece = name.split(".")[-2]
    if c.arch == "llama" and piece in ("attn_q", "attn_k"):
        # Rows that turn together are neighbours (2i, 2i + 1) in GGUF, halves (i, i + K / 2) in transformers.
        n_heads = c.n_heads if piece == "attn_q" else c.n_kv_heads
        array = array.reshape(n_heads, c.head_dim // 2, 2, -1).swapaxes(1, 2).reshape(array.shape)
    return array
