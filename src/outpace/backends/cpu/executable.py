"""A lowered plan with its weights in place: what runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outpace import _native
from outpace.backends.backend import DraftExecutable, Limits
from outpace.backends.cpu import weights
from outpace.backends.cpu.layout import Instruction, Layout, tensors
from outpace.gguf.file import GGUFFile
from outpace.gguf.quants import dequantize
from outpace.gguf.weights import WeightRef
from outpace.graph.ops import Rope
from outpace.graph.step import Step, StepResult

KV_TYPES = {"f16": 1, "q8_0": 8}

Progress = Callable[[int, int], None]

# Packed between two reports of progress. Python's other threads work meanwhile; a report waits for them.
BATCH_BYTES = 256 << 20


class CpuExecutable:
    """A native program and its KV pages; see `backend.Executable`.

    State: the pages and the workspace, changed by `run`. One caller at a time.
    """

    draft: DraftExecutable | None = None

    def __init__(
        self, layout: Layout, file: GGUFFile, pool: _native.Pool, tier: str, progress: Progress | None = None
    ) -> None:
        n_vocab = layout.plan.nodes[layout.plan.outputs["logits"]].shape[-1]
        assert isinstance(n_vocab, int)
        self.n_vocab, self.limits = n_vocab, layout.limits
        loaded = _load(layout, file, pool, tier, progress)
        self.program = _program(layout, loaded)
        for instruction in layout.instructions:
            _emit(self.program, instruction, loaded, file)
        logits = layout.logits
        rows = self.program.floats(logits.floats, logits.rows, logits.stride, n_vocab)
        # Made once: a step leaves Python's memory cold, and every object it need not make then counts.
        program = self.program if self.program.keep_peaks(logits.floats) else None
        self._results = [StepResult(rows[:n], None, program) for n in range(logits.rows + 1)]
        self._run = self.program.run

    def run(self, step: Step) -> StepResult:
        """Run one step; see `backend.Executable`."""
        tokens, segments, wanted, _, _ = step
        self._run(tokens, segments, wanted)
        return self._results[len(wanted)]

    def copy_page(self, source: int, target: int) -> None:
        """Copy one page of KV memory over all layers."""
        self.program.copy_page(source, target)

    def copy_state(self, source: int, target: int) -> None:
        """Do nothing: `lower` takes no program with recurrent layers."""


class _Loaded:
    """The arena of a model's packed matrices, by tensor name."""

    def __init__(self, arena: _native.WeightArena) -> None:
        self.arena = arena
        self.weights: dict[str, _native.Weight] = {}


def _load(layout: Layout, file: GGUFFile, pool: _native.Pool, tier: str, progress: Progress | None) -> _Loaded:
    refs = list(tensors(layout))
    total = sum(weights.packed_bytes(ref, tier) for ref in refs)
    loaded = _Loaded(_native.WeightArena(tier, pool, total))
    done = 0
    for batch in _batches(refs):
        packed = loaded.arena.pack_all([_source(ref, file) for ref in batch])
        for ref, weight in zip(batch, packed, strict=True):
            loaded.weights[ref.name] = weight
            done += weights.packed_bytes(ref, tier)
        if progress:
            progress(done, total)
    return loaded


def _source(ref: WeightRef, file: GGUFFile) -> tuple[int, int, int, NDArray[np.uint8], NDArray[np.uint8]]:
    rows, width = ref.shape
    raw = weights.kernel_bytes(ref, file.data(ref.name))
    return int(weights.kernel_type(ref).type), rows, width, raw, file.around(ref.name)


def _batches(refs: list[WeightRef]) -> Iterator[list[WeightRef]]:
    """Yield tensors that are packed in one call: up to `BATCH_BYTES`, and each that is converted alone."""
    batch: list[WeightRef] = []
    n_bytes = 0
    for ref in refs:
        is_converted = weights.kernel_type(ref).is_converted
        if batch and (is_converted or n_bytes + ref.n_bytes > BATCH_BYTES):
            yield batch
            batch, n_bytes = [], 0
        batch.append(ref)
        # A converted one takes memory of its own until it is packed.
        n_bytes += BATCH_BYTES if is_converted else ref.n_bytes
    if batch:
        yield batch


def _program(layout: Layout, loaded: _Loaded) -> _native.Program:
    limits: Limits = layout.limits
    return _native.Program(
        weights=loaded.arena,
        max_rows=limits.max_rows,
        max_wanted=limits.max_wanted,
        n_pages=limits.n_pages,
        kv_type=KV_TYPES[limits.kv_type],
        kv=[(spec.n_kv_heads, spec.head_dim) for spec in layout.kv],
        workspace_bytes=layout.workspace_bytes,
        partial=layout.partial,
        partial_rows=layout.partial_rows,
        partial_chunks=layout.partial_chunks,
        scratch=layout.scratch,
        scratch_bytes=layout.scratch_bytes,
    )


def _emit(program: _native.Program, instruction: Instruction, loaded: _Loaded, file: GGUFFile) -> None:
    """Call the program's method with names of tensors replaced by what was loaded."""
    arguments: dict[str, Any] = dict(instruction.arguments)
    if instruction.method == "add_embed":
        arguments["table"] = loaded.weights[arguments["table"].name]
    elif instruction.method == "add_linear":
        refs = arguments["weights"]
        arguments["weights"] = [loaded.weights[ref.name] for ref in refs]
        arguments["biases"] = [
            _bias(bias, ref.shape[0], file) for bias, ref in zip(arguments["biases"], refs, strict=True)
        ]
    elif instruction.method == "add_rows":
        weight: WeightRef | None = arguments["weight"]
        arguments["weight"] = _vector(weight, file).tolist() if weight else []
    elif instruction.method == "add_rope_table":
        arguments["frequencies"] = frequencies(arguments["frequencies"], file)
    getattr(program, instruction.method)(**arguments)


def frequencies(rope: Rope, file: GGUFFile) -> list[float]:
    """Return the angle of each pair at position 1, in float64 [dims / 2]."""
    pairs = rope.base ** (-np.arange(0, rope.dims, 2, dtype=np.float64) / rope.dims) / rope.scale
    if rope.factors is not None:
        pairs = pairs / _vector(rope.factors, file)
    found: list[float] = pairs.tolist()
    return found


def _vector(ref: WeightRef, file: GGUFFile) -> np.ndarray[Any, np.dtype[np.float32]]:
    values = np.array(dequantize(file.data(ref.name), ref.type, ref.shape))
    file.release(ref.name)
    return values


def _bias(ref: WeightRef | None, rows: int, file: GGUFFile) -> list[float]:
    if ref is None:
        return []
    padded = np.zeros(-(-rows // 16) * 16, np.float32)
    padded[:rows] = _vector(ref, file)
    values: list[float] = padded.tolist()
    return values
