"""Qwen3.5 with experts: as the dense one, with a network of experts in each layer."""

from __future__ import annotations

from outpace.convert.architectures import experts, hybrid, tiled
from outpace.convert.checkpoint import Checkpoint
from outpace.convert.content import Content

ARCH = "qwen35moe"


def read(checkpoint: Checkpoint) -> Content:
    """Return the model; see `architectures.read_architecture`."""
    return hybrid.read(ARCH, checkpoint, tiled.recurrent, experts.mlp, lambda each: experts.keys(ARCH, each))
