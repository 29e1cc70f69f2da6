"""Networks of experts: routed ones stacked into one tensor each, and a shared one with a gate of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from outpace.convert.architectures import dense, hybrid
from outpace.convert.checkpoint import Checkpoint
from outpace.convert.rows import Picked, Rows, Shaped, Stacked
from outpace.convert.settings import Settings
from outpace.errors import UnsupportedError


def keys(arch: str, settings: Settings) -> dict[str, Any]:
    """Return the keys of the experts; the dense length too, where the configuration has one."""
    _refuse_dense_layers(settings)
    found: dict[str, Any] = {
        f"{arch}.expert_count": settings.count("num_experts"),
        f"{arch}.expert_used_count": settings.count("num_experts_per_tok"),
        f"{arch}.expert_feed_forward_length": settings.count("moe_intermediate_size"),
        f"{arch}.expert_shared_feed_forward_length": settings.count("shared_expert_intermediate_size"),
    }
    if "intermediate_size" in settings:
        found[f"{arch}.feed_forward_length"] = settings.count("intermediate_size")
    return found


def mlp(checkpoint: Checkpoint, sizes: hybrid.Sizes, source: str, target: str) -> dense.Tensors:
    """Return the network of one layer: from `model.layers.0.mlp.` to `blk.0.`."""
    settings, d, take = checkpoint.settings, sizes.d_model, checkpoint.take
    n, f = settings.count("num_experts"), settings.count("moe_intermediate_size")
    shared = settings.count("shared_expert_intermediate_size")
    found: dense.Tensors = {f"{target}ffn_gate_inp.weight": take(f"{source}gate.weight", n, d)}
    experts = f"{source}experts."
    if checkpoint.has(f"{experts}gate_up_proj"):
        both = take(f"{experts}gate_up_proj", n, 2 * f, d)
        found |= {
            f"{target}ffn_gate_exps.weight": _half_of_each(both, 0, n, f, d),
            f"{target}ffn_up_exps.weight": _half_of_each(both, 1, n, f, d),
            f"{target}ffn_down_exps.weight": take(f"{experts}down_proj", n, d, f),
        }
    else:
        for name, shape in {"gate": (f, d), "up": (f, d), "down": (d, f)}.items():
            parts = [take(f"{experts}{i}.{name}_proj.weight", *shape) for i in range(n)]
            found[f"{target}ffn_{name}_exps.weight"] = Stacked(parts)
    found[f"{target}ffn_gate_inp_shexp.weight"] = Shaped(take(f"{source}shared_expert_gate.weight", 1, d), (d,))
    for name, shape in {"gate": (shared, d), "up": (shared, d), "down": (d, shared)}.items():
        found[f"{target}ffn_{name}_shexp.weight"] = take(f"{source}shared_expert.{name}_proj.weight", *shape)
    return found


def _half_of_each(both: Rows, half: int, n: int, f: int, d: int) -> Rows:
    """Return one of the two matrices that each expert has below each other."""
    rows = np.arange(n * 2 * f, dtype=np.int64).reshape(n, 2, f)[:, half]
    return Picked(both, rows.reshape(-1), (n, f, d))


def _refuse_dense_layers(settings: Settings) -> None:
    if settings.counts("mlp_only_layers") or settings.count("decoder_sparse_step", 1) != 1:
        raise UnsupportedError("experts in", "some layers only", ("experts in every layer",))
    if not settings.flag("norm_topk_prob", True):
        raise UnsupportedError("expert weights", "that are not made to sum to 1", ("weights that sum to 1",))
