"""What a head is before it is trained: the file's own, the trunk's last layer that is made like it, or zeros."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from outpace.gguf.quants import dequantize
from outpace.graft.blueprint import Blueprint
from outpace.graft.design import Design

# A new head's first projection adds the hidden state and the embedding, this much smaller. How large they should be
# for a block that knows the last layer's input is tried out: tensors of a new head begin with one of these scales.
EMBEDDING, NOISE = 1 / 4, 0.01
SCALES = (1, 2, 4, 8, 16, 32, 64)


def read(blueprint: Design, name: str) -> Tensor:
    """Return a tensor of the model's file in float32."""
    info = blueprint.file.tensors[name]
    return torch.from_numpy(dequantize(blueprint.file.data(name), info.type, info.shape))


def from_zeros(blueprint: Design, seed: int, scale: float) -> dict[str, Tensor]:  # noqa: ARG001 - those of `Kind.start`
    """Return the tensors of Medusa heads, in float32, by name: of new ones zeros, so that they say what the model says.

    Source: Cai et al. 2024 (arXiv:2401.10774), section 2.1.1.
    """
    own = blueprint.file.tensors
    return {
        name: read(blueprint, name) if name in own else torch.zeros(shape) for name, shape in blueprint.shapes.items()
    }


def from_last_layer(blueprint: Design, seed: int, scale: float) -> dict[str, Tensor]:
    """Return the tensors of a multi-token-prediction head, in float32, by name.

    Args:
        blueprint: The model's.
        seed: Of the little noise in a new head.
        scale: How large the hidden state is that a new head's block is given.
    """
    assert isinstance(blueprint, Blueprint), "other heads have no block"
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
