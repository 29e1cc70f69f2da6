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
    """Verbs over values. Definitions see only this."""

    def embed(self, table: WeightRef) -> Value:
        """Look up this step's tokens: table [V, D] -> [T, D]."""

    def linear(self, x: Value, weight: WeightRef, bias: WeightRef | None = None) -> Value:
        """Multiply: x [T, K] by weight [N, K] transposed, plus bias [N] -> [T, N]."""

    def add(self, x: Value, y: Value) -> Value:
        """Add two values of one shape."""

    def mul(self, x: Value, y: Value) -> Value:
        """Multiply two values of one shape, element by element."""

    def scale(self, x: Value, factor: float) -> Value:
        """Multiply by a constant."""

    def silu(self, x: Value) -> Value:
        """Apply x * sigmoid(x)."""

    def rms_norm(self, x: Value, weight: WeightRef, eps: float) -> Value:
        """Divide by the root mean square of the last dimension and multiply by weight [last dimension]."""

    def heads(self, x: Value, n: int) -> Value:
        """Split the last dimension: [T, n * K] -> [T, n, K]."""

    def rope(self, x: Value, rope: Rope) -> Value:
        """Turn heads [T, H, K] by each row's position."""

    def attention(self, q: Value, k: Value, v: Value, *, layer: int, scale: float) -> Value:
        """Write k, v [T, G, K] to the layer's cache, then attend causally with q [T, H, K] -> [T, H * K].

        Stages T rows of the sequence's cache; the engine's commit decides how many stay.
        """

    def wanted(self, x: Value) -> Value:
        """Keep the rows whose logits are wanted: [T, D] -> [W, D]."""

    def output(self, name: str, x: Value) -> None:
        """Name a result of the program."""
