"""The verbs a model definition is written in: the narrow waist between models and backends.

A value's first dimension is always rows (tokens of a step). Shape letters are those of docs/notation.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from outpace.gguf.weights import WeightRef

# A traced handle, or an array when the definition runs eagerly.
Value: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Rope:
    """How positions turn query and key heads.

    Attributes:
        dims: How many leading dimensions of a head are turned (even, at most K).
        base: Frequency base: pair i turns by position * base ** (-2 i / dims).
        style: `norm` pairs neighbours (2i, 2i+1), `neox` pairs halves (i, i + dims / 2).
        scale: Linear position scale; frequencies are divided by it.
        factors: Tensor [dims / 2] of extra divisors, one for each pair (Llama 3), or None.

    Source: Su et al. 2021 (arXiv:2104.09864); GGUF keys `rope.*`.
    """

    dims: int
    base: float
    style: str
    scale: float = 1.0
    factors: WeightRef | None = None


class Ops(Protocol):
    """Verbs over values. Definitions see only this.

    Rows of more than one dimension lie flat in memory, the last dimension innermost: a verb that asks for rows of n
    numbers takes any shape with n numbers a row.
    """

    def embed(self, table: WeightRef) -> Value:
        """Look up this step's tokens: table [V, D] -> [T, D]."""

    def hidden(self, width: int) -> Value:
        """Take the hidden states given with the step: [T, D], row p holding that of the position before p's."""

    def linear(self, x: Value, weight: WeightRef, bias: WeightRef | None = None) -> Value:
        """Multiply: rows of K numbers by weight [N, K] transposed, plus bias [N] -> [T, N]."""

    def add(self, x: Value, y: Value) -> Value:
        """Add two values of one shape."""

    def mul(self, x: Value, y: Value) -> Value:
        """Multiply element by element: two values of one shape, or y [T, 1], one factor for each row."""

    def scale(self, x: Value, factor: float) -> Value:
        """Multiply by a constant."""

    def silu(self, x: Value) -> Value:
        """Apply x * sigmoid(x)."""

    def sigmoid(self, x: Value) -> Value:
        """Apply 1 / (1 + exp(-x))."""

    def rms_norm(self, x: Value, weight: WeightRef, eps: float) -> Value:
        """Divide by the root mean square of the last dimension and multiply by weight [last dimension]."""

    def l2_norm(self, x: Value, eps: float) -> Value:
        """Divide by sqrt(sum of squares + eps) over the last dimension."""

    def heads(self, x: Value, n: int) -> Value:
        """Read rows of n * K numbers as n heads -> [T, n, K]."""

    def part(self, x: Value, begin: int, n: int) -> Value:
        """Take entries begin .. begin + n - 1 of the last dimension."""

    def concat(self, x: Value, y: Value) -> Value:
        """Put rows of n numbers before rows of m numbers -> [T, n + m]."""

    def rope(self, x: Value, rope: Rope) -> Value:
        """Turn heads [T, H, K] by each row's position."""

    def attention(self, q: Value, k: Value, v: Value, *, layer: int, scale: float) -> Value:
        """Write k, v [T, G, K] to the layer's cache, then attend causally with q [T, H, K] -> [T, H * K].

        Stages T rows of the sequence's cache; the engine's commit decides how many stay. After a pass, q and the result
        may have only the exported or the wanted rows (X, W); k and v always have all.
        """

    def conv(self, x: Value, weight: WeightRef, *, layer: int) -> Value:
        """Convolve over time, each channel by itself: x [T, C], weight [C, J] -> y_t = sum_j weight[:, j] x_(t-J+1+j).

        The sequence's state keeps the last J - 1 inputs; before position 0 they are zeros. Known rows enter the state,
        guesses are staged (`Segment.n_draft`, `Segment.n_pending`).
        """

    def decay(self, a: Value, rate: WeightRef, bias: WeightRef) -> Value:
        """Apply exp(rate * softplus(a + bias)): rows of H numbers, rate (negative) and bias [H] -> [T, H]."""

    def gated_delta(
        self, q: Value, k: Value, v: Value, decay: Value, beta: Value, *, layer: int, tiled: bool = True
    ) -> Value:
        """Update and read an associative memory: q, k [T, G, K], v [T, H, V], rows of H of decay, beta -> [T, H, V].

        For each row in order and value head h, with its key head g, in float32 state S [K, V]:
        S *= decay_h; S += k_g (beta_h (v_h - S^T k_g))^T; out_h = S^T q_g. Value head h has key head h % G if `tiled`,
        else h // (H / G). State and staging as for `conv`; of a guess the state keeps k, v, decay, beta.

        Source: Yang et al. 2024 (arXiv:2412.06464).
        """

    def experts(
        self,
        x: Value,
        router: Value,
        gate: WeightRef,
        up: WeightRef,
        down: WeightRef,
        *,
        n_used: int,
        norm_topk: bool = True,
    ) -> Value:
        """Mix the gated networks that a row's router chooses: x [T, D] -> [T, D].

        Softmax over router [T, E]; the n_used largest are used, of equals the lower index; their shares, divided by
        their sum if `norm_topk`, weigh down_e(silu(gate_e x) * up_e x). gate, up [E, F, D], down [E, D, F].
        """

    def exported(self, x: Value) -> Value:
        """Keep the rows whose hidden state is asked for: [T, D] -> [X, D]."""

    def wanted(self, x: Value) -> Value:
        """Keep the rows whose logits are wanted: [T, D] or [X, D] -> [W, D]."""

    def output(self, name: str, x: Value) -> None:
        """Name a result of the program: `logits` [W, V] (`logits.0` and so on of several heads), `hidden` [X, D]."""
