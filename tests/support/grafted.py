"""Tiny models with a random head, of every architecture that can have one."""

from pathlib import Path

from tests.support import tiny

from outpace.gguf.file import open_gguf
from outpace.gguf.quants import dequantize
from outpace.graft.blueprint import Blueprint


def with_head(path: Path, out: Path, seed: int = 0) -> Path:
    """Write a file's model with a head of random weights, in float32; a file that has one is itself the answer."""
    with open_gguf(path) as file:
        blueprint = Blueprint(file)
        if blueprint.has_head:
            return path
        arch, n = blueprint.definition.arch, blueprint.config.n_layers
        keys = {key: file.metadata[key] for key in file.metadata}
        keys |= {f"{arch}.block_count": n + 1, f"{arch}.nextn_predict_layers": 1}
        own = {name: dequantize(file.data(name), each.type, each.shape) for name, each in file.tensors.items()}
        return tiny.write(out, keys, own | tiny.arrays(dict(blueprint.shapes), seed))
