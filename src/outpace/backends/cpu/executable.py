"""Lowered plans with their weights in place: what runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from outpace import _native, config
from outpace.backends.backend import DraftExecutable, Limits
from outpace.backends.cpu.layout import Layout
from outpace.backends.cpu.loading import Loaded
from outpace.gguf.types import GGMLType
from outpace.graph.step import Step, StepResult

# How keys and values are kept, as the native program names it.
KV_TYPES = {name: int(GGMLType[name.upper()]) for name in config.KV_TYPES}


class CpuExecutable:
    """A trunk's native program and its KV pages; see `backend.Executable`.

    State: the pages and the workspace, changed by `run`. One caller at a time.
    """

    draft: DraftExecutable | None = None

    def __init__(self, layout: Layout, limits: Limits, loaded: Loaded) -> None:
        self.limits = limits
        self._state = state(layout, limits, loaded)
        workspace = _native.Memory(layout.workspace_bytes, loaded.pool)
        self.program = program(layout, loaded, self._state, workspace)
        self._logits, self._hidden = views(self.program, layout, "logits"), views(self.program, layout, "hidden")
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
        """Copy one page of KV memory over all layers."""
        self._state.copy_page(source, target)

    def copy_state(self, source: int, target: int) -> None:
        """Do nothing: `lower` takes no program with recurrent layers."""


def state(layout: Layout, limits: Limits, loaded: Loaded) -> _native.State:
    """Return memory for what sequences carry."""
    kv = [(spec.n_kv_heads, spec.head_dim) for spec in layout.state.kv]
    return _native.State(pool=loaded.pool, n_pages=limits.n_pages, kv_type=KV_TYPES[limits.kv_type], kv=kv)


def program(layout: Layout, loaded: Loaded, state: _native.State, workspace: _native.Memory) -> _native.Program:
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


def views(made: _native.Program, layout: Layout, output: str) -> list[NDArray[np.float32]]:
    """Return an output's first n rows in the workspace, for every n; nothing if the plan does not have it."""
    if output not in layout.outputs:
        return []
    buffer = layout.outputs[output]
    rows = made.floats(buffer.floats, buffer.rows, buffer.stride, buffer.width)
    return [rows[:n] for n in range(buffer.rows + 1)]
