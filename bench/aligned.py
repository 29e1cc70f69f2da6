"""Weights with which a head of random weights says what its trunk of random weights says, for about a share of tokens.

Layers add little to the embedding that they start from, so that the next token depends mostly on the last one, and the
head does the same with the embedding that it is given.
"""

from __future__ import annotations

import math

import numpy as np

# What a layer adds to the residual stream goes through one of these.
_OUT = ("attn_output", "ssm_out", "ffn_down", "ffn_down_exps", "ffn_down_shexp")


def check(share: float | None) -> None:
    """Raise ValueError for a share that is none."""
    if share is not None and not 0 <= share <= 1:
        raise ValueError(f"mtp_aligned is {share}; 0 to 1 expected")


def deviation(name: str, n_columns: int, n_layers: int, n_mtp: int, share: float) -> float:
    """Return the deviation of a matrix: 1 for the embedding, and less than usual for what layers add with."""
    if name == "token_embd.weight":
        return 1.0
    usual, parts = n_columns**-0.5, name.split(".")
    if len(parts) < 3 or parts[2] not in _OUT:
        return usual
    is_head = int(parts[1]) >= n_layers
    n_sums = 2 * (n_mtp if is_head else n_layers)
    # Found by trying: with this the head agrees about as often as asked for.
    added = min(3.0, -0.65 * math.log(share)) if share else 3.0
    return usual * added * n_sums**-0.5


def values(name: str, d_model: int, is_tied: bool, share: float) -> np.ndarray | None:
    """Return the values of tensors that make the head do as the trunk: norms, and a projection of the embedding."""
    # With all signs plus, a head tied to the embedding would repeat the token it is given.
    signs = np.where(np.random.default_rng(d_model).random(d_model) < 0.5, -1, 1).astype(np.float32)
    part = name.removesuffix(".weight").rpartition(".")[2]
    if part in ("output_norm", "shared_head_norm"):
        # A tied projection has the embedding's values, of deviation 1.
        return signs * np.float32(d_model**-0.5 if is_tied else 1)
    if part in ("enorm", "hnorm"):
        return np.ones(d_model, np.float32)
    if part == "eh_proj":
        eye = np.eye(d_model, dtype=np.float32)
        # The hidden state that it is given has passed the trunk's norm.
        return np.concatenate([eye, 0.25 * (1 - share) * eye * signs], axis=1)
    return None
