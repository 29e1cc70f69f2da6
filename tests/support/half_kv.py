"""Attention in transformers over keys and values rounded to half precision, as a cache of f16 holds them."""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask
from transformers.models.qwen3_next.modeling_qwen3_next import eager_attention_forward

# What `attn_implementation` is to be.
NAME = "half_kv"


def attend(module: torch.nn.Module, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *rest: Any, **more: Any) -> Any:
    """Attend as written in plain torch, to what a cache would hold."""
    return eager_attention_forward(module, q, k.half().float(), v.half().float(), *rest, **more)


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, eager_mask)
