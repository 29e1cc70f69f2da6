"""How each family's Hugging Face checkpoints become GGUF: one module a family, each with `read(checkpoint)`."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from outpace.convert.architectures import llama, qwen3, qwen3next, qwen35, qwen35moe
from outpace.convert.checkpoint import Checkpoint
from outpace.convert.content import Content
from outpace.errors import UnsupportedError

# `model_type` of config.json -> what reads such a folder.
READERS: MappingProxyType[str, Callable[[Checkpoint], Content]] = MappingProxyType(
    {
        "llama": llama.read,
        "qwen3": qwen3.read,
        "qwen3_5": qwen35.read,
        "qwen3_5_text": qwen35.read,
        "qwen3_5_moe": qwen35moe.read,
        "qwen3_5_moe_text": qwen35moe.read,
        "qwen3_next": qwen3next.read,
    }
)


def read_architecture(checkpoint: Checkpoint) -> Content:
    """Return what a folder's model is as GGUF, without its tokenizer.

    Raises:
        UnsupportedError: The folder's `model_type` is not one we know; lists those we do.
        ModelFileError: A setting or tensor is missing, odd, or not known.
    """
    kind = checkpoint.settings.model_type
    if kind not in READERS:
        raise UnsupportedError("converting a model of model_type", kind, sorted(READERS))
    content = READERS[kind](checkpoint)
    checkpoint.check_all_used()
    return content
