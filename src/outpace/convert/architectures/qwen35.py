"""Qwen3.5, 3.6, 3.8: three gated-delta layers to one of gated attention, a dense network in each, one MTP layer."""

from __future__ import annotations

from outpace.convert.architectures import dense, hybrid, tiled
from outpace.convert.checkpoint import Checkpoint
from outpace.convert.content import Content

ARCH = "qwen35"


def read(checkpoint: Checkpoint) -> Content:
    """Return the model; see `architectures.read_architecture`."""
    d_ff = checkpoint.settings.count("intermediate_size")

    def mlp(checkpoint: Checkpoint, sizes: hybrid.Sizes, source: str, target: str) -> dense.Tensors:
        return dense.feed_forward(checkpoint, source, target, sizes.d_model, d_ff)

    return hybrid.read(ARCH, checkpoint, tiled.recurrent, mlp, lambda _: {f"{ARCH}.feed_forward_length": d_ff})
