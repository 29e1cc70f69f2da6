"""What a head is before it is trained: the file's own, or the last layer of the trunk that is made like it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from outpace.gguf.quants import dequantize
from outpace.graft.blueprint import Blueprint

# A new head's first projection passes the hidden state on and adds the embedding, each by so much.
EMBEDDING, HIDDEN, NOISE = 0.5, 0.5, 0.01


def read(blueprint: Blueprint, name: str) -> Tensor:
    """Return a tensor of the model's file in float32."""
    info = blueprint.file.tensors[name]
    return torch.from_numpy(dequantize(blueprint.file.data(name), info.type, info.shape))


def start(blueprint: Blueprint, seed: int) -> dict[str, Tensor]:
    """Return the tensors to train, in float32, by name."""
    random = np.random.default_rng(seed)
    found = {}
    for name, shape in blueprint.shapes.items():
        part = name.removeprefix(blueprint.prefix)
        if name in blueprint.file.tensors:
            found[name] = read(blueprint, name)
        elif part == "nextn.eh_proj.weight":
            eye = np.eye(shape[0], dtype=np.float32)
            noise = random.normal(0, NOISE * shape[1] ** -0.5, shape)
            found[name] = torch.from_numpy(np.hstack([EMBEDDING * eye, HIDDEN * eye]) + noise.astype(np.float32))
        elif part == "nextn.shared_head_norm.weight":
            found[name] = read(blueprint, "output_norm.weight")
        elif part.startswith("nextn."):
            found[name] = torch.ones(shape)
        else:
            found[name] = read(blueprint, f"blk.{blueprint.source}.{part}")
    return found
