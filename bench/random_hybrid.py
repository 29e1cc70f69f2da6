"""Write a file of the Qwen3.5 family with random weights, draft head included; the head can be made to agree at times.

`python -m bench.random_gguf OUT --arch qwen35 --shape 4b --type Q4_K_M` writes the sizes of a published model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench import aligned
from bench.hybrid import SIZES, Sizes, keys, shapes, small
from bench.random_gguf import TYPES, matrix, tokenizer
from outpace.convert.mix import MIXES, Mix, type_of
from outpace.gguf.quants import quantize
from outpace.gguf.types import GGMLType
from outpace.gguf.writer import Tensor, write_gguf

# Mixes as a converter makes them, and every type by itself.
KINDS = tuple(dict.fromkeys((*MIXES, *(kind.name for kind in TYPES))))


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
    aligned.check(mtp_aligned)
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
    name: str, size: tuple[int, ...], kind: GGMLType, rng: np.random.Generator, n: Sizes, share: float | None
) -> np.ndarray | Iterable[np.ndarray]:
    std = size[-1] ** -0.5
    if share is not None:
        made = aligned.values(name, n.d_model, n.tied, share)
        if made is not None:
            return quantize(made, kind)
        std = aligned.deviation(name, size[-1], n.n_layers, n.n_mtp, share)
    values = small(name, size, rng)
    return matrix(rng, kind, size, std) if values is None else values
