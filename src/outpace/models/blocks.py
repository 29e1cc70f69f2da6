"""Pieces that more than one architecture is made of."""

from __future__ import annotations

from outpace.gguf.weights import Weights
from outpace.graph.ops import Ops, Value


def projection(ops: Ops, w: Weights, name: str, n_rows: int, x: Value) -> Value:
    """Multiply by `name.weight` [n_rows, last dimension of x], and add `name.bias` where the file has one.

    Args:
        ops: Verbs.
        w: Weights of the layer.
        name: Tensor name without `.weight`.
        n_rows: Width of the result.
        x: [T, K].

    Returns:
        [T, n_rows].
    """
    bias = w(f"{name}.bias", n_rows) if w.has(f"{name}.bias") else None
    return ops.linear(x, w(f"{name}.weight", n_rows, x.shape[-1]), bias)


def swiglu(ops: Ops, w: Weights, d_ff: int, x: Value) -> Value:
    """Apply the gated feed-forward network down(silu(gate x) * up x): x [T, D] -> [T, D].

    Source: Shazeer 2020 (arXiv:2002.05202).
    """
    d_model = x.shape[-1]
    gate = ops.linear(x, w("ffn_gate.weight", d_ff, d_model))  # [T, F]
    up = ops.linear(x, w("ffn_up.weight", d_ff, d_model))  # [T, F]
    return ops.linear(ops.mul(ops.silu(gate), up), w("ffn_down.weight", d_model, d_ff))


def logits(ops: Ops, w: Weights, n_vocab: int, norm_eps: float, x: Value) -> None:
    """End a trunk: final norm and vocabulary projection of the wanted rows, as output `logits` [W, V].

    A file without `output.weight` ties the projection to the embedding table.
    """
    d_model = x.shape[-1]
    h = ops.rms_norm(ops.wanted(x), w("output_norm.weight", d_model), norm_eps)  # [W, D]
    head = "output.weight" if w.has("output.weight") else "token_embd.weight"
    ops.output("logits", ops.linear(h, w(head, n_vocab, d_model)))
