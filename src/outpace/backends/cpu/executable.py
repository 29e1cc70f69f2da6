"""Lowered plans with their weights in place: what runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from outpace import _native, config
from outpace.backends.backend import Limits
from outpace.backends.cpu.layout import Layout
from outpace.backends.cpu.loading import Loaded
from outpace.gguf.types import GGMLType
from outpace.graph.cost import RecurrentSpec
from outpace.graph.passes import projection
from outpace.graph.step import Step, StepResult

# How keys and values are kept, as the native program names it.
KV_TYPES = {name: int(GGMLType[name.upper()]) for name in config.KV_TYPES}


class CpuDraft:
    """A draft program, head by head and for keys and values alone; see `backend.DraftExecutable`.

    Attributes:
        program: The native program of the first head.
        programs: Those of all heads, and the one that writes keys and values alone, where there is a cache.
        native: See `backend.DraftExecutable`.

    State: its pages and its workspace, changed by `run` and `catch_up`. One caller at a time.
    """

    def __init__(self, heads: Sequence[Layout], catching_up: Sequence[Layout], limits: Limits, loaded: Loaded) -> None:
        self.limits = limits
        self.state = _state(heads[0], limits, loaded)
        layouts = [*heads, *catching_up]
        # They never run between another's run and the use of its results.
        workspace = _native.Memory(max(each.workspace_bytes for each in layouts), loaded.pool)
        self.programs = [_program(each, loaded, self.state, workspace) for each in layouts]
        self.program, self._catch_up = self.programs[0], self.programs[-1]
        self._heads = [
            (program, _views(program, each, "logits"), _views(program, each, "hidden"))
            for program, each in zip(self.programs, heads, strict=False)
        ]
        self.n_vocab = self._heads[0][1][0].shape[1]
        ends = [heads[0].outputs[name].floats for name in ("logits", "hidden") if name in heads[0].outputs]
        self.native = (self.program, ends[0], ends[1]) if len(ends) == 2 else None
        self._loaded, self._projection = loaded, projection(heads[0].plan)

    def run(self, step: Step, head: int = 0) -> StepResult:
        """Run one step; see `backend.DraftExecutable`."""
        tokens, segments, wanted, exported, given = step
        program, logits, hidden = self._heads[head]
        program.run(tokens, segments, wanted, exported, given)
        return StepResult(logits[len(wanted)], hidden[len(exported) or len(wanted)] if hidden else None)

    def catch_up(self, step: Step) -> None:
        """Stage keys and values; see `backend.DraftExecutable`."""
        tokens, segments, wanted, exported, hidden = step
        self._catch_up.run(tokens, segments, wanted, exported, hidden)

    def take_rows(self, at: int, tokens: Sequence[int]) -> None:
        """Fill rows of a trimmed projection; see `backend.DraftExecutable`."""
        self._loaded.take_rows(self._projection, at, tokens)


class CpuExecutable:
    """A trunk's native program, its KV pages and recurrent states; see `backend.Executable`.

    State: the pages, the states and the workspace, changed by `run`. One caller at a time.
    """

    def __init__(self, layout: Layout, limits: Limits, loaded: Loaded, draft: CpuDraft | None = None) -> None:
        self.limits, self.draft = limits, draft
        self._state = _state(layout, limits, loaded)
        workspace = _native.Memory(layout.workspace_bytes, loaded.pool)
        self.program = _program(layout, loaded, self._state, workspace)
        self._logits, self._hidden = _views(self.program, layout, "logits"), _views(self.program, layout, "hidden")
        self.n_vocab = self._logits[0].shape[1]
        # Made once: a step leaves Python's memory cold, and every object it need not make then counts.
        self._accepts = self.program if self.program.keep_peaks(layout.outputs["logits"].floats) else None
        self._results = [StepResult(rows, None, self._accepts) for rows in self._logits]
        self._run = self.program.run

    def run(self, step: Step) -> StepResult:
        """Run one step; see `backend.Executable`."""
        tokens, segments, wanted, exported, _ = step
        if not self._hidden:
            self._run(tokens, segments, wanted)
            return self._results[len(wanted)]
        self._run(tokens, segments, wanted, exported)
        return StepResult(self._logits[len(wanted)], self._hidden[len(exported) or len(wanted)], self._accepts)

    def copy_page(self, source: int, target: int) -> None:
        """Copy one page of KV memory; see `backend.Executable`."""
        self._state.copy_page(source, target)
        if self.draft is not None:
            self.draft.state.copy_page(source, target)

    def copy_state(self, source: int, target: int) -> None:
        """Copy one slot; see `backend.Executable`."""
        self._state.copy_slot(source, target)


def recurrent_shape(spec: RecurrentSpec) -> tuple[int, int, int, int, int, int]:
    """Return a recurrent layer's sizes as native code takes them."""
    return spec.n_channels, spec.kernel, spec.n_heads, spec.n_key_heads, spec.key_dim, spec.value_dim


def _state(layout: Layout, limits: Limits, loaded: Loaded) -> _native.State:
    """Return memory for what sequences carry."""
    return _native.State(
        pool=loaded.pool,
        n_pages=limits.n_pages,
        kv_type=KV_TYPES[limits.kv_type],
        kv=[(spec.n_kv_heads, spec.head_dim) for spec in layout.state.kv],
        recurrent=[recurrent_shape(spec) for spec in layout.state.recurrent],
        n_slots=limits.n_slots,
        max_draft=limits.max_draft,
    )


def _program(layout: Layout, loaded: Loaded, state: _native.State, workspace: _native.Memory) -> _native.Program:
    """Return a layout as a native program."""
    made = _native.Program(
        weights=loaded.arena,
        state=state,
        workspace=workspace,
        max_rows=layout.sizes.rows,
        max_exported=layout.sizes.exported,
        max_wanted=layout.sizes.wanted,
        partial=layout.partial,
        partial_rows=layout.partial_rows,
        partial_chunks=layout.partial_chunks,
        scratch=layout.scratch,
        scratch_bytes=layout.scratch_bytes,
    )
    for instruction in layout.instructions:
        loaded.emit(made, instruction)
    return made


def _views(program: _native.Program, layout: Layout, output: str) -> list[NDArray[np.float32]]:
    """Return an output's first n rows in the workspace, for every n; nothing if the plan does not have it."""
    if output not in layout.outputs:
        return []
    buffer = layout.outputs[output]
    rows = program.floats(buffer.floats, buffer.rows, buffer.stride, buffer.width)
    return [rows[:n] for n in range(buffer.rows + 1)]
