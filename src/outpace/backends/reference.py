"""The slow twin of everything: plans on numpy in float32, run eagerly or step by step, one row at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from outpace.backends.backend import DraftMemory, Limits, MemoryPlan
from outpace.backends.eager.kv import KV_ROUNDING, Array, PagedKV, round_q4_0, round_q8_0
from outpace.backends.eager.recurrent import RecurrentState
from outpace.backends.eager.verbs import ReferenceOps
from outpace.gguf.file import GGUFFile
from outpace.gguf.quants import dequantize, quantize
from outpace.gguf.types import GGMLType
from outpace.gguf.weights import WeightRef
from outpace.graph.cost import border_bytes, state_spec
from outpace.graph.passes import by_head, kv_only, projection
from outpace.graph.plan import Plan
from outpace.graph.replay import Replay
from outpace.graph.step import PAGE, Segment, Step, StepResult

__all__ = [
    "KV_ROUNDING",
    "PagedKV",
    "ReferenceBackend",
    "ReferenceDraft",
    "ReferenceExecutable",
    "ReferenceOps",
    "Tensors",
    "alone",
    "round_q4_0",
    "round_q8_0",
]


class Tensors:
    """Weights of a file in float32, each dequantised when first asked for and kept."""

    def __init__(self, file: GGUFFile) -> None:
        self._file = file
        self._arrays: dict[str, Array] = {}

    def reserve(self, ref: WeightRef) -> Array:
        """Return a tensor of zeros that no file has, to be filled."""
        self._arrays[ref.name] = np.zeros(ref.shape, np.float32)
        return self._arrays[ref.name]

    def __call__(self, ref: WeightRef) -> Array:
        """Return the tensor [*ref.shape]."""
        found = self._arrays.get(ref.name)
        if found is None:
            found = dequantize(self._file.data(ref.name), ref.type, ref.shape)
            self._arrays[ref.name] = found
        return found


class ReferenceExecutable:
    """A plan played back over `ReferenceOps`; see `backend.Executable`."""

    def __init__(
        self,
        plan: Plan,
        tensors: Tensors,
        limits: Limits,
        draft: ReferenceDraft | None = None,
        cache: PagedKV | None = None,
    ) -> None:
        n_vocab = plan.nodes[plan.outputs["logits"]].shape[-1] if "logits" in plan.outputs else 0
        assert isinstance(n_vocab, int)
        self.n_vocab, self.limits, self.draft = n_vocab, limits, draft
        self._replay, self._tensors = Replay(plan), tensors
        self.cache = cache or PagedKV(limits.n_pages, limits.kv_type)
        self._is_recurrent = bool(state_spec(plan).recurrent)
        self._state = RecurrentState(limits.n_slots, limits.max_draft)

    def run(self, step: Step) -> StepResult:
        """Run one step; see `backend.Executable`."""
        n_rows = sum(segment.n_rows for segment in step.segments)
        assert len(step.tokens) == n_rows <= self.limits.max_rows, f"{n_rows} rows for {len(step.tokens)} tokens"
        assert len(step.wanted) <= self.limits.max_wanted, f"{len(step.wanted)} wanted rows"
        if self._is_recurrent:
            self._state.begin(step.segments)
        ops = ReferenceOps(step, self._tensors, self.cache, self._state)
        self._replay(ops)
        return StepResult(ops.outputs.get("logits", np.empty((0, 0), np.float32)), ops.outputs.get("hidden"))

    def copy_page(self, source: int, target: int) -> None:
        """Copy one page of KV memory over all layers."""
        self.cache.copy_page(source, target)
        if self.draft is not None:
            self.draft.copy_page(source, target)

    def copy_state(self, source: int, target: int) -> None:
        """Copy one slot's recurrent state; see `backend.Executable`."""
        if self._is_recurrent:
            self._state.copy(source, target)


class ReferenceDraft:
    """A draft program on numpy; see `backend.DraftExecutable`."""

    native = None

    def __init__(self, plan: Plan, tensors: Tensors, limits: Limits) -> None:
        matrix = projection(plan)
        self._tensors, self._rows_of = tensors, matrix.rows_of
        self._trimmed = tensors.reserve(matrix) if matrix.rows_of else None
        self._cache = PagedKV(limits.n_pages, limits.kv_type)
        self._heads = [ReferenceExecutable(each, tensors, limits, cache=self._cache) for each in by_head(plan)]
        self._catching_up = ReferenceExecutable(kv_only(plan), tensors, limits, cache=self._cache)
        self.n_vocab, self.limits = self._heads[0].n_vocab, limits

    def run(self, step: Step, head: int = 0) -> StepResult:
        """Run one step; see `backend.DraftExecutable`."""
        assert len(step.exported or step.wanted) <= self.limits.max_wanted, f"{len(step.exported)} exported rows"
        return self._heads[head].run(step)

    def catch_up(self, step: Step) -> None:
        """Stage keys and values; see `backend.DraftExecutable`."""
        assert not len(step.wanted) and not len(step.exported), "catching up computes no row"
        self._catching_up.run(step)

    def take_rows(self, at: int, tokens: Sequence[int]) -> None:
        """Fill rows of a trimmed projection; see `backend.DraftExecutable`."""
        assert self._trimmed is not None and self._rows_of is not None, "the projection has all its rows"
        rows = np.ascontiguousarray(self._tensors(self._rows_of)[list(tokens)])
        rounded = quantize(rows, GGMLType.Q4_0).reshape(-1).view(np.uint8)
        self._trimmed[at : at + len(tokens)] = dequantize(rounded, GGMLType.Q4_0, rows.shape)

    def copy_page(self, source: int, target: int) -> None:
        """Copy one page of the draft program's cache."""
        self._cache.copy_page(source, target)


class ReferenceBackend:
    """Runs plans on numpy; see `backend.Backend`. For tests and for reading, not for speed."""

    name = "reference"

    def memory(self, plan: Plan, limits: Limits, draft: Plan | None = None) -> MemoryPlan:
        """Return what `compile` would hold: everything is float32, the KV cache too."""
        refs = plan.weights()
        drafting = None
        if draft is not None:
            own = [ref for name, ref in draft.weights().items() if name not in refs]
            drafting = DraftMemory(
                _weights_bytes(ref for ref in own if ref.rows_of is None),
                _weights_bytes(ref for ref in own if ref.rows_of is not None),
                _kv_bytes(draft, limits) + border_bytes(plan, draft) * limits.n_pages,
                _workspace_bytes(draft, limits),
            )
        return MemoryPlan(
            weights_bytes=_weights_bytes(refs.values()),
            kv_bytes=_kv_bytes(plan, limits),
            state_bytes=limits.n_slots * state_spec(plan).slot_bytes(limits.max_draft),
            workspace_bytes=_workspace_bytes(plan, limits),
            draft=drafting,
        )

    def compile(self, plan: Plan, file: GGUFFile, limits: Limits, draft: Plan | None = None) -> ReferenceExecutable:
        """Dequantise every weight and return the runnable program; see `backend.Backend`."""
        tensors = Tensors(file)
        for each in (plan, draft):
            for ref in each.weights().values() if each else ():
                if ref.rows_of is None:
                    tensors(ref)
        return ReferenceExecutable(plan, tensors, limits, ReferenceDraft(draft, tensors, limits) if draft else None)


def _weights_bytes(refs: Iterable[WeightRef]) -> int:
    return 4 * sum(math.prod(ref.shape) for ref in refs)


def _kv_bytes(plan: Plan, limits: Limits) -> int:
    return 4 * limits.n_pages * PAGE * sum(2 * each.n_kv_heads * each.head_dim for each in state_spec(plan).kv)


def _workspace_bytes(plan: Plan, limits: Limits) -> int:
    widest = max(math.prod(n for n in node.shape if isinstance(n, int)) for node in plan.nodes)
    return 4 * limits.max_rows * widest


def alone(file: GGUFFile, tokens: list[int], kv_type: str = "f32") -> ReferenceOps:
    """Return verbs for one sequence given whole, every row exported and wanted, as running a definition eagerly needs.

    Example: `ops = alone(file, [1, 2, 3]); llama.trunk(ops, Weights(file), config); ops.outputs["logits"]`.
    """
    n_pages = -(-len(tokens) // PAGE)
    every = range(len(tokens))
    segment = Segment(0, len(tokens), np.arange(n_pages, dtype=np.int32))
    return ReferenceOps(Step(tokens, [segment], every, every), Tensors(file), PagedKV(n_pages, kv_type))
