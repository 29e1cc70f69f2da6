"""Pieces that more than one architecture is made of."""

from __future__ import annotations

from dataclasses import replace

from outpace.gguf.weights import WeightRef, Weights
from outpace.graph.ops import Ops, Value
from outpace.models.definition import Config
from outpace.models.hybrid import Experts


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


def experts(ops: Ops, w: Weights, sizes: Experts, x: Value) -> Value:
    """Apply a mixture of experts and, gated by sigmoid, the one that every row uses: x [T, D] -> [T, D]."""
    n, d_ff, d_model = sizes.n, sizes.d_ff, x.shape[-1]
    routed = ops.experts(
        x,
        ops.linear(x, w("ffn_gate_inp.weight", n, d_model)),  # [T, E]
        w("ffn_gate_exps.weight", n, d_ff, d_model),
        w("ffn_up_exps.weight", n, d_ff, d_model),
        w("ffn_down_exps.weight", n, d_model, d_ff),
        n_used=sizes.n_used,
    )
    gate = ops.linear(x, w("ffn_gate_shexp.weight", sizes.d_shared, d_model))  # [T, F]
    up = ops.linear(x, w("ffn_up_shexp.weight", sizes.d_shared, d_model))  # [T, F]
    shared = ops.linear(ops.mul(ops.silu(gate), up), w("ffn_down_shexp.weight", d_model, sizes.d_shared))
    share = ops.sigmoid(ops.linear(x, as_row(w("ffn_gate_inp_shexp.weight", d_model))))  # [T, 1]
    return ops.add(routed, ops.mul(shared, share))


def as_row(vector: WeightRef) -> WeightRef:
    """Return a vector [K] as the matrix [1, K]."""
    return replace(vector, shape=(1, *vector.shape))


def head(w: Weights, n_vocab: int, d_model: int) -> WeightRef:
    """Return the vocabulary projection [V, D]: a file without `output.weight` ties it to the embedding table."""
    return w("output.weight" if w.has("output.weight") else "token_embd.weight", n_vocab, d_model)


def end(ops: Ops, w: Weights, c: Config, x: Value) -> None:
    """End a trunk: final norm and vocabulary projection of the wanted rows, as output `logits` [W, V].

    One with heads that draft also names the normed state of the exported rows, `hidden` [X, D].
    """
    is_read = c.n_mtp > 0 or c.n_medusa > 0
    h = ops.exported(x) if is_read else ops.wanted(x)
    h = ops.rms_norm(h, w("output_norm.weight", c.d_model), c.norm_eps)  # [X, D] or [W, D]
    if is_read:
        ops.output("hidden", h)
        h = ops.wanted(h)
    ops.output("logits", ops.linear(h, head(w, c.n_vocab, c.d_model)))
