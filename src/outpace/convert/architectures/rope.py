"""Rotary embedding: what config.json says of it, as GGUF keys and, where frequencies differ, as a tensor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from outpace.convert.architectures.dense import Tensors
from outpace.convert.rows import Held
from outpace.convert.settings import Settings
from outpace.errors import ModelFileError, UnsupportedError


def parameters(settings: Settings) -> Settings:
    """Return the table of rotary parameters, under whichever name a version of transformers wrote it."""
    return settings.table("rope_parameters" if "rope_parameters" in settings else "rope_scaling")


def share(settings: Settings, default: float) -> float:
    """Return the share of a head's width that is turned."""
    key = "partial_rotary_factor"
    return settings.number(key) if key in settings else parameters(settings).number(key, default)


def keys(arch: str, settings: Settings, n_dims: int) -> tuple[dict[str, Any], Tensors]:
    """Return keys and tensors of a rotary embedding.

    Args:
        arch: Prefix of the keys.
        settings: The model's.
        n_dims: Leading dimensions of a head that are turned.

    Raises:
        UnsupportedError: A scaling that GGUF has no keys for.
    """
    table = parameters(settings)
    base = table.number("rope_theta") if "rope_theta" in table else settings.number("rope_theta", 10000.0)
    found: dict[str, Any] = {f"{arch}.rope.dimension_count": n_dims, f"{arch}.rope.freq_base": base}
    kind = table.text("rope_type", table.text("type", "default"))
    tensors: Tensors = {}
    if kind in ("linear", "yarn"):
        found |= {f"{arch}.rope.scaling.type": kind, f"{arch}.rope.scaling.factor": table.number("factor")}
    if kind == "yarn":
        longest = settings.count("max_position_embeddings")
        original = table.count("original_max_position_embeddings", longest)
        found[f"{arch}.rope.scaling.original_context_length"] = original
    elif kind == "llama3":
        tensors["rope_freqs.weight"] = Held(_llama3_divisors(table, base, n_dims))
    elif kind not in ("default", "mrope", "linear"):
        raise UnsupportedError("rotary scaling of type", kind, ("default", "linear", "yarn", "llama3"))
    return found, tensors


def _llama3_divisors(table: Settings, base: float, n_dims: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return by how much each frequency is divided, [n_dims / 2]: long waves by `factor`, short ones by 1.

    Source: Llama Team 2024 (arXiv:2407.21783) and the configuration that came with it.
    """
    factor, original = table.number("factor"), table.count("original_max_position_embeddings")
    low, high = table.number("low_freq_factor"), table.number("high_freq_factor")
    if factor <= 0 or high <= low:
        raise ModelFileError(
            table.path, f"factor {factor}, low {low}, high {high} make no scaling", "'rope_parameters'"
        )
    turns = original * base ** (-np.arange(0, n_dims, 2) / n_dims) / (2 * math.pi)
    unscaled = np.clip((turns - low) / (high - low), 0, 1)
    return (1 / (unscaled + (1 - unscaled) / factor)).astype(np.float32)
