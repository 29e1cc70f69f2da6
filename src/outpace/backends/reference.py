"""The slow twin of everything: verbs on numpy in float32, run eagerly or from a plan, one row at a time."""

# ruff: noqa: D102 - the verbs are documented in graph/ops.py

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from outpace.backends.backend import Limits, MemoryPlan
from outpace.errors import UnsupportedError
from outpace.gguf.file import GGUFFile
from outpace.gguf.quants import dequantize
from outpace.gguf.weights import WeightRef
from outpace.graph.cost import state_spec
from outpace.graph.ops import Rope
from outpace.graph.plan import Plan
from outpace.graph.replay import Replay
from outpace.graph.step import PAGE, Segment, Step, StepResult

Array: TypeAlias = NDArray[np.float32]

# What the reference stores KV as; f32 keeps every bit, for comparison with other implementations.
KV_ROUNDING = ("f16", "q8_0", "f32")


class Tensors:
    """Weights of a file in float32, each dequantised when first asked for and kept."""

    def __init__(self, file: GGUFFile) -> None:
        self._file = file
        self._arrays: dict[str, Array] = {}

    def __call__(self, ref: WeightRef) -> Array:
        """Return the tensor [*ref.shape]."""
        found = self._arrays.get(ref.name)
        if found is None:
            found = dequantize(self._file.data(ref.name), ref.type, ref.shape)
            self._arrays[ref.name] = found
        return found


class PagedKV:
    """Keys and values of every layer in pages of PAGE positions, rounded as the cache's type would round them.

    State: float32 arrays [n_pages * PAGE, G, K], made when a layer is first written. Memory that no step has
    written is NaN, so that reading it shows.
    """

    def __init__(self, n_pages: int, kv_type: str) -> None:
        if kv_type not in KV_ROUNDING:
            raise UnsupportedError("KV type", kv_type, KV_ROUNDING)
        self._n_pages, self._kv_type = n_pages, kv_type
        self._layers: dict[int, tuple[Array, Array]] = {}

    def write(self, layer: int, slots: NDArray[np.intp], k: Array, v: Array) -> None:
        """Store rows k, v [T, G, K] at `slots` [T] (page * PAGE + offset)."""
        if layer not in self._layers:
            shape = (self._n_pages * PAGE, *k.shape[1:])
            self._layers[layer] = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
        keys, values = self._layers[layer]
        keys[slots], values[slots] = self._round(k), self._round(v)

    def read(self, layer: int, slots: NDArray[np.intp]) -> tuple[Array, Array]:
        """Return keys and values [C, G, K] of `slots` [C]."""
        keys, values = self._layers[layer]
        return keys[slots], values[slots]

    def copy_page(self, source: int, target: int) -> None:
        """Copy one page over all layers."""
        for arrays in self._layers.values():
            for array in arrays:
                array[target * PAGE : (target + 1) * PAGE] = array[source * PAGE : (source + 1) * PAGE]

    def _round(self, x: Array) -> Array:
        if self._kv_type == "f32":
            return x
        return x.astype(np.float16).astype(np.float32) if self._kv_type == "f16" else round_q8_0(x)


def round_q8_0(x: Array) -> Array:
    """Round values to what q8_0 can hold: blocks of 32 along the last dimension, an f16 scale of max/127 each."""
    width = x.shape[-1]
    padded = np.zeros((*x.shape[:-1], -(-width // 32) * 32), np.float32)
    padded[..., :width] = x
    blocks = padded.reshape(*x.shape[:-1], -1, 32)
    scale = np.abs(blocks).max(axis=-1, keepdims=True) / np.float32(127)
    steps = np.rint(blocks / np.where(scale > 0, scale, np.float32(1)))
    rounded = steps * scale.astype(np.float16).astype(np.float32)
    result: Array = rounded.reshape(padded.shape)[..., :width]
    return result


class ReferenceOps:
    """The verbs, computed at once: values are float32 arrays that can be printed.

    Every row is computed by itself, by calls whose shapes depend on that row's position alone, so neither the rows
    beside it nor the cut into steps change its bits.

    State: writes the step's rows into `cache`; `outputs` collects what the program names.
    """

    def __init__(self, step: Step, tensors: Callable[[WeightRef], Array], cache: PagedKV) -> None:
        self.outputs: dict[str, Array] = {}
        self._tensors, self._cache = tensors, cache
        self._tokens = np.asarray(step.tokens, np.intp)
        self._wanted = np.asarray(step.wanted, np.intp)
        self._spans = [_Span.of(segment) for segment in step.segments]
        self._positions = np.concatenate([np.arange(span.start, span.end) for span in self._spans])
        self._slots = np.concatenate([span.slots[span.start :] for span in self._spans])
        self._turns: dict[Rope, tuple[Array, Array]] = {}

    def embed(self, table: WeightRef) -> Array:
        return self._tensors(table)[self._tokens]

    def linear(self, x: Array, weight: WeightRef, bias: WeightRef | None = None) -> Array:
        # A batch of one-row products: each is the same call whatever the number of rows.
        y: Array = np.matmul(x[:, None, :], self._tensors(weight).T)[:, 0, :]
        return y if bias is None else y + self._tensors(bias)

    def add(self, x: Array, y: Array) -> Array:
        return x + y

    def mul(self, x: Array, y: Array) -> Array:
        return x * y

    def scale(self, x: Array, factor: float) -> Array:
        return x * np.float32(factor)

    def silu(self, x: Array) -> Array:
        with np.errstate(over="ignore"):  # exp(-x) of a very negative x is infinite, and the quotient 0
            y: Array = np.divide(x, np.float32(1) + np.exp(-x))
        return y

    def rms_norm(self, x: Array, weight: WeightRef, eps: float) -> Array:
        mean = np.add.reduce(x * x, axis=-1, keepdims=True) / np.float32(x.shape[-1])
        y: Array = np.divide(x, np.sqrt(mean + np.float32(eps))) * self._tensors(weight)
        return y

    def heads(self, x: Array, n: int) -> Array:
        return x.reshape(x.shape[0], n, -1)

    def rope(self, x: Array, rope: Rope) -> Array:
        cos, sin = self._turn(rope)
        half = rope.dims // 2
        first, second = (slice(0, half), slice(half, rope.dims))
        if rope.style == "norm":
            first, second = (slice(0, rope.dims, 2), slice(1, rope.dims, 2))
        a, b = x[..., first], x[..., second]
        y = x.copy()
        y[..., first], y[..., second] = a * cos - b * sin, b * cos + a * sin
        return y

    def attention(self, q: Array, k: Array, v: Array, *, layer: int, scale: float) -> Array:
        self._cache.write(layer, self._slots, k, v)
        n_heads, head_dim = q.shape[1:]
        n_kv_heads = k.shape[1]
        grouped = (q * np.float32(scale)).reshape(-1, n_kv_heads, n_heads // n_kv_heads, head_dim)
        out = np.empty_like(grouped)
        row = 0
        for span in self._spans:
            keys, values = self._cache.read(layer, span.slots)
            keys, values = keys.transpose(1, 2, 0), values.transpose(1, 0, 2)  # [G, K, C], [G, C, K]
            for end in range(span.start + 1, span.end + 1):
                scores = grouped[row] @ keys[..., :end]  # [G, H / G, end]
                scores -= scores.max(axis=-1, keepdims=True)
                weights = np.exp(scores, out=scores)
                np.matmul(weights, values[:, :end], out=out[row])
                out[row] /= weights.sum(axis=-1, keepdims=True)
                row += 1
        return out.reshape(-1, n_heads * head_dim)

    def wanted(self, x: Array) -> Array:
        return x[self._wanted]

    def output(self, name: str, x: Array) -> None:
        self.outputs[name] = x

    def swiglu(self, gate: Array, up: Array) -> Array:
        """Return silu(gate) * up: made by a pass over plans."""
        return self.mul(self.silu(gate), up)

    def linear_add(self, x: Array, y: Array, weight: WeightRef) -> Array:
        """Return y + x @ weight.T: made by a pass over plans."""
        return self.add(y, self.linear(x, weight))

    def _turn(self, rope: Rope) -> tuple[Array, Array]:
        """Return cos and sin [T, 1, dims / 2] of every row's angles, computed in float64."""
        if rope not in self._turns:
            frequency = rope.base ** (-np.arange(0, rope.dims, 2) / rope.dims) / rope.scale
            if rope.factors is not None:
                frequency = frequency / self._tensors(rope.factors)
            angles = (self._positions[:, None] * frequency)[:, None, :]
            self._turns[rope] = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        return self._turns[rope]


@dataclass(frozen=True, slots=True)
class _Span:
    """A segment's positions start .. end - 1, and the slot of every position before its end [end]."""

    start: int
    end: int
    slots: NDArray[np.intp]

    @classmethod
    def of(cls, segment: Segment) -> _Span:
        end = segment.start + segment.n_rows
        pages = np.asarray(segment.pages[: -(-end // PAGE)], np.intp)
        slots = (pages[:, None] * PAGE + np.arange(PAGE)).reshape(-1)[:end]
        assert len(slots) == end, f"{len(pages)} pages for {end} positions"
        return cls(segment.start, end, slots)


class ReferenceExecutable:
    """A plan played back over `ReferenceOps`; see `backend.Executable`."""

    def __init__(self, plan: Plan, tensors: Tensors, limits: Limits) -> None:
        n_vocab = plan.nodes[plan.outputs["logits"]].shape[-1]
        assert isinstance(n_vocab, int)
        self.n_vocab, self.limits = n_vocab, limits
        self._replay, self._tensors = Replay(plan), tensors
        self._cache = PagedKV(limits.n_pages, limits.kv_type)

    def run(self, step: Step) -> StepResult:
        """Run one step; see `backend.Executable`."""
        n_rows = sum(segment.n_rows for segment in step.segments)
        assert len(step.tokens) == n_rows <= self.limits.max_rows, f"{n_rows} rows for {len(step.tokens)} tokens"
        assert len(step.wanted) <= self.limits.max_wanted, f"{len(step.wanted)} wanted rows"
        ops = ReferenceOps(step, self._tensors, self._cache)
        self._replay(ops)
        return StepResult(ops.outputs["logits"], ops.outputs.get("hidden"))

    def copy_page(self, source: int, target: int) -> None:
        """Copy one page of KV memory over all layers."""
        self._cache.copy_page(source, target)


class ReferenceBackend:
    """Runs plans on numpy; see `backend.Backend`. For tests and for reading, not for speed."""

    name = "reference"

    def memory(self, plan: Plan, limits: Limits) -> MemoryPlan:
        """Return what `compile` would hold: everything is float32, the KV cache too."""
        spec = state_spec(plan)
        kv_values = sum(2 * each.n_kv_heads * each.head_dim for each in spec.kv)
        widest = max(int(np.prod([n for n in node.shape if isinstance(n, int)])) for node in plan.nodes)
        return MemoryPlan(
            weights_bytes=4 * sum(int(np.prod(ref.shape)) for ref in plan.weights().values()),
            kv_bytes=4 * limits.n_pages * PAGE * kv_values,
            state_bytes=0,
            workspace_bytes=4 * limits.max_rows * widest,
        )

    def compile(self, plan: Plan, file: GGUFFile, limits: Limits) -> ReferenceExecutable:
        """Dequantise every weight and return the runnable program; see `backend.Backend`."""
        tensors = Tensors(file)
        for ref in plan.weights().values():
            tensors(ref)
        return ReferenceExecutable(plan, tensors, limits)


def alone(file: GGUFFile, tokens: list[int], kv_type: str = "f32") -> ReferenceOps:
    """Return verbs for one sequence given whole, every row wanted: what running a definition eagerly needs.

    Example: `ops = alone(file, [1, 2, 3]); llama.trunk(ops, Weights(file), config); ops.outputs["logits"]`.
    """
    n_pages = -(-len(tokens) // PAGE)
    segment = Segment(0, len(tokens), np.arange(n_pages, dtype=np.int32))
    return ReferenceOps(Step(tokens, [segment], range(len(tokens))), Tensors(file), PagedKV(n_pages, kv_type))
