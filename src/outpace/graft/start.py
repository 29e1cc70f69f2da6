"""What a head is before it is trained: the file's own, or the last layer of the trunk that is made like it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from outpace.gguf.quants import dequantize
from outpace.graft.blueprint import Blueprint

# A new head's first projection adds the hidden state and the embedding, this much smaller. How large they should be
# for a block that knows the last layer's input is tried out: tensors of a new head begin with one of these scales.
EMBEDDING, NOISE = 1 / 4, 0.01
SCALES = (1, 2, 4, 8, 16, 32, 64)


def read(blueprint: Blueprint, name: str) -> Tensor:
    """Return a tensor of the model's file in float32."""
    info = blueprint.file.tensors[name]
    return torch.from_numpy(dequantize(blueprint.file.data(name), info.type, info.shape))


def start(blueprint: Blueprint, seed: int, scale: float) -> dict[str, Tensor]:
    """Return the tensors to train, in float32, by name.

    Args:
        blueprint: The model's.
        seed: Of the little noise in a new head.
        scale: How large the hidden state is that a new head's block is given.
    """
    random = np.random.default_rng(seed)
    found = {}
    for name, shape in blueprint.shapes.items():
        part = name.removeprefix(blueprint.prefix)
        if name in blueprint.file.tensors:
            found[name] = read(blueprint, name)
        elif part == "nextn.eh_proj.weight":
            eye = np.eye(shape[0], dtype=np.float32)
            noise = random.normal(0, NOISE * shape[1] ** -0.5, shape)
            found[name] = torch.from_numpy(np.hstack([eye, eye]) + noise.astype(np.float32))
        elif part == "nextn.shared_head_norm.weight":
            found[name] = read(blueprint, "output_norm.weight")
        elif part == "nextn.enorm.weight":
            found[name] = torch.full(shape, EMBEDDING * scale)
        elif part == "nextn.hnorm.weight":
            found[name] = torch.full(shape, float(scale))
        else:
            found[name] = read(blueprint, f"blk.{blueprint.source}.{part}")
    return found
