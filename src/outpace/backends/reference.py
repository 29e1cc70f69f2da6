"""The slow twin of everything: plans on numpy in float32, run eagerly or step by step, one row at a time."""

from __future__ import annotations

import numpy as np

from outpace.backends.backend import Limits, MemoryPlan
from outpace.backends.eager.kv import KV_ROUNDING, Array, PagedKV, round_q8_0
from outpace.backends.eager.recurrent import RecurrentState
from outpace.backends.eager.verbs import ReferenceOps
from outpace.gguf.file import GGUFFile
from outpace.gguf.quants import dequantize
from outpace.gguf.weights import WeightRef
from outpace.graph.cost import state_spec
from outpace.graph.plan import Plan
from outpace.graph.replay import Replay
from outpace.graph.step import PAGE, Segment, Step, StepResult

__all__ = [
    "KV_ROUNDING",
    "PagedKV",
    "ReferenceBackend",
    "ReferenceExecutable",
    "ReferenceOps",
    "Tensors",
    "alone",
    "round_q8_0",
]


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


class ReferenceExecutable:
    """A plan played back over `ReferenceOps`; see `backend.Executable`."""

    def __init__(self, plan: Plan, tensors: Tensors, limits: Limits) -> None:
        n_vocab = plan.nodes[plan.outputs["logits"]].shape[-1] if "logits" in plan.outputs else 0
        assert isinstance(n_vocab, int)
        self.n_vocab, self.limits = n_vocab, limits
        self._replay, self._tensors = Replay(plan), tensors
        self._cache = PagedKV(limits.n_pages, limits.kv_type)
        self._is_recurrent = bool(state_spec(plan).recurrent)
        self._state = RecurrentState(limits.n_slots, limits.max_draft)

    def run(self, step: Step) -> StepResult:
        """Run one step; see `backend.Executable`."""
        n_rows = sum(segment.n_rows for segment in step.segments)
        assert len(step.tokens) == n_rows <= self.limits.max_rows, f"{n_rows} rows for {len(step.tokens)} tokens"
        assert len(step.wanted) <= self.limits.max_wanted, f"{len(step.wanted)} wanted rows"
        if self._is_recurrent:
            self._state.begin(step.segments)
        ops = ReferenceOps(step, self._tensors, self._cache, self._state)
        self._replay(ops)
        return StepResult(ops.outputs.get("logits", np.empty((0, 0), np.float32)), ops.outputs.get("hidden"))

    def copy_page(self, source: int, target: int) -> None:
        """Copy one page of KV memory over all layers."""
        self._cache.copy_page(source, target)

    def copy_state(self, source: int, target: int) -> None:
        """Copy one slot's recurrent state; see `backend.Executable`."""
        if self._is_recurrent:
            self._state.copy(source, target)


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
            state_bytes=limits.n_slots * spec.slot_bytes(limits.max_draft),
            workspace_bytes=4 * limits.max_rows * widest,
        )

    def compile(self, plan: Plan, file: GGUFFile, limits: Limits) -> ReferenceExecutable:
        """Dequantise every weight and return the runnable program; see `backend.Backend`."""
        tensors = Tensors(file)
        for ref in plan.weights().values():
            tensors(ref)
        return ReferenceExecutable(plan, tensors, limits)


def alone(file: GGUFFile, tokens: list[int], kv_type: str = "f32") -> ReferenceOps:
    """Return verbs for one sequence given whole, every row exported and wanted, as running a definition eagerly needs.

    Example: `ops = alone(file, [1, 2, 3]); llama.trunk(ops, Weights(file), config); ops.outputs["logits"]`.
    """
    n_pages = -(-len(tokens) // PAGE)
    every = range(len(tokens))
    segment = Segment(0, len(tokens), np.arange(n_pages, dtype=np.int32))
    return ReferenceOps(Step(tokens, [segment], every, every), Tensors(file), PagedKV(n_pages, kv_type))
