"""Write a file of the Qwen3.5 family with random weights, draft head included; the head can be made to agree at times.

`python -m bench.random_gguf OUT --arch qwen35 --shape 4b --type Q4_K_M` writes the sizes of a published model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.hybrid import SIZES, Sizes, keys, shapes, small
from bench.random_gguf import TYPES, matrix, tokenizer
from outpace.convert.mix import MIXES, Mix, type_of
from outpace.gguf.quants import quantize
from outpace.gguf.types import GGMLType
from outpace.gguf.writer import Tensor, write_gguf

# Mixes as a converter makes them, and every type by itself.
KINDS = tuple(dict.fromkeys((*MIXES, *(kind.name for kind in TYPES))))
# What a layer adds to the residual stream goes through one of these.
_OUT = ("attn_output", "ssm_out", "ffn_down", "ffn_down_exps", "ffn_down_shexp")


def write_random_hybrid(
    path: str | Path,
    *,
    arch: str = "qwen35",
    shape: str = "tiny",
    type: str = "Q8_0",  # noqa: A002
    mtp_aligned: float | None = None,
    seed: int = 0,
    extra: dict[str, Any] | None = None,
    **sizes: Any,
) -> Path:
    """Write a model file with random weights, the same bytes for the same arguments.

    With `mtp_aligned` layers add little to the embedding that they start from, so that the next token depends mostly on
    the last one, and the head does the same with the embedding that it is given.

    Args:
        path: Where to.
        arch: `qwen35`, `qwen35moe` or `qwen3next`.
        shape: Sizes, a row of `hybrid.SIZES`.
        type: A mix (`Q4_K_M`) or a type (`Q4_K`); rows must be whole blocks of it.
        mtp_aligned: For about which share of the tokens the head says what the trunk says, 0 to 1 (for fewer in a large
            vocabulary); None for a head as random as the rest.
        seed: Of the random generator.
        extra: More metadata, which goes before the rest's own.
        sizes: Fields of `hybrid.Sizes` to be other than the shape's.

    Returns:
        The path.

    Raises:
        ValueError: No such shape of the architecture, no such type, or a share out of range.
    """
    if (arch, shape) not in SIZES:
        known = ", ".join(f"{a} {s}" for a, s in SIZES)
        raise ValueError(f"there is no shape {shape!r} of {arch!r}; there are {known}")
    if type not in KINDS:
        raise ValueError(f"type is {type!r}; one of {', '.join(KINDS)} expected")
    if mtp_aligned is not None and not 0 <= mtp_aligned <= 1:
        raise ValueError(f"mtp_aligned is {mtp_aligned}; 0 to 1 expected")
    n = replace(SIZES[arch, shape], **sizes)
    mix = MIXES.get(type) or Mix(type, GGMLType[type], 0)
    metadata = {
        "general.name": f"random {arch} {shape} {type}",
        "general.quantization_version": 2,
        **keys(arch, n),
        **tokenizer(n.vocab),
        "tokenizer.ggml.pre": "qwen35" if arch != "qwen3next" else "qwen2",
        **(extra or {}),
    }
    tensors: dict[str, Tensor] = {}
    for index, (name, size) in enumerate(shapes(arch, n).items()):
        kind = type_of(mix, name, size, n.n_layers, n.tied)
        rng = np.random.default_rng([seed, index])
        tensors[name] = (kind, size, _values(name, size, kind, rng, n, mtp_aligned))
    write_gguf(path, metadata, tensors)
    return Path(path)


def _values(
    name: str, size: tuple[int, ...], kind: GGMLType, rng: np.random.Generator, n: Sizes, aligned: float | None
) -> np.ndarray | Iterable[np.ndarray]:
    std = size[-1] ** -0.5
    if aligned is not None:
        made = _aligned(name, n, aligned)
        if made is not None:
            return quantize(made, kind)
        std = 1.0 if name == "token_embd.weight" else std * _damped(name, n, aligned)
    values = small(name, size, rng)
    return matrix(rng, kind, size, std) if values is None else values


def _damped(name: str, n: Sizes, aligned: float) -> float:
    """Return what a layer's output matrix is multiplied by: how much layers add to what they start from."""
    parts = name.split(".")
    if len(parts) < 3 or parts[2] not in _OUT:
        return 1.0
    is_head = int(parts[1]) >= n.n_layers
    n_sums = 2 * (n.n_mtp if is_head else n.n_layers)
    # Found by trying: with this the head agrees about as often as asked for.
    added = min(3.0, -0.65 * math.log(aligned)) if aligned else 3.0
    return added * n_sums**-0.5


def _aligned(name: str, n: Sizes, aligned: float) -> np.ndarray | None:
    """Return the values of tensors that make the head do as the trunk: norms, and a projection of the embedding."""
    # With all signs plus, a head tied to the embedding would repeat the token it is given.
    signs = np.where(np.random.default_rng(n.d_model).random(n.d_model) < 0.5, -1, 1).astype(np.float32)
    part = name.removesuffix(".weight").rpartition(".")[2]
    if part in ("output_norm", "shared_head_norm"):
        # A tied projection has the embedding's values, of deviation 1.
        return signs * np.float32(n.d_model**-0.5 if n.tied else 1)
    if part in ("enorm", "hnorm"):
        return np.ones(n.d_model, np.float32)
    if part == "eh_proj":
        eye = np.eye(n.d_model, dtype=np.float32)
        # The hidden state that it is given has passed the trunk's norm.
        return np.concatenate([eye, 0.25 * (1 - aligned) * eye * signs], axis=1)
    return None
