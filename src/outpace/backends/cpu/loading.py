"""Weights of a file packed into one arena, and the small tensors that instructions hold themselves."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outpace import _native
from outpace.backends.cpu import weights
from outpace.backends.cpu.layout import Instruction, Layout, tensors
from outpace.gguf.file import GGUFFile
from outpace.gguf.quants import dequantize
from outpace.gguf.weights import WeightRef
from outpace.graph.ops import Rope

Progress = Callable[[int, int], None]

# Packed between two reports of progress. Python's other threads work meanwhile; a report waits for them.
BATCH_BYTES = 256 << 20


class Loaded:
    """The arena of a model's packed matrices, by tensor name.

    Attributes:
        arena: Their memory.
        pool: The threads that packed them, and run them.
    """

    def __init__(self, layouts: Sequence[Layout], file: GGUFFile, pool: _native.Pool, tier: str) -> None:
        self.file, self.pool = file, pool
        self._refs, self._tier = list(tensors(layouts)), tier
        self._total = sum(weights.packed_bytes(ref, tier) for ref in self._refs)
        self.arena = _native.WeightArena(tier, pool, self._total)
        self._weights: dict[str, list[_native.Weight]] = {}  # one, or each of a stack

    def pack(self, progress: Progress | None) -> None:
        """Pack every matrix."""
        done = 0
        for batch in _batches([ref for ref in self._refs if ref.rows_of is None]):
            packed = iter(self.arena.pack_all([source for ref in batch for source in _sources(ref, self.file)]))
            for ref in batch:
                self._weights[ref.name] = list(islice(packed, math.prod(ref.shape[:-2])))
                done += weights.packed_bytes(ref, self._tier)
            if progress:
                progress(done, self._total)
        for ref in self._refs:
            if ref.rows_of is not None:
                self._weights[ref.name] = [self.arena.reserve(int(ref.type), *ref.shape)]

    def take_rows(self, ref: WeightRef, at: int, rows: Sequence[int]) -> None:
        """Fill rows of a matrix made of another's (`WeightRef.rows_of`) from `at` on."""
        assert ref.rows_of is not None, f"{ref.name} is a tensor of the file"
        (target,), (source,) = self._weights[ref.name], self._weights[ref.rows_of.name]
        self.arena.take_rows(target, at, source, list(rows))

    def emit(self, program: _native.Program, instruction: Instruction) -> None:
        """Call the program's method with names of tensors replaced by what was loaded."""
        arguments: dict[str, Any] = dict(instruction.arguments)
        if instruction.method == "add_embed":
            (arguments["table"],) = self._weights[arguments["table"].name]
        elif instruction.method == "add_linear":
            refs = arguments["weights"]
            arguments["weights"] = [weight for ref in refs for weight in self._weights[ref.name]]
            biases = zip(arguments["biases"], refs, strict=True)
            arguments["biases"] = [self._bias(bias, ref.shape[0]) for bias, ref in biases]
        elif instruction.method == "add_experts":
            refs = arguments.pop("weights")
            arguments |= {name: self._weights[ref.name] for name, ref in zip(("gate", "up", "down"), refs, strict=True)}
        elif instruction.method == "add_rows":
            arguments["weight"] = [x for ref in arguments["weight"] for x in self.vector(ref).tolist()]
        elif instruction.method == "add_conv":
            # One row for each step of the kernel, so that channels lie side by side.
            arguments["weight"] = self.vector(arguments["weight"]).T.reshape(-1).tolist()
        elif instruction.method == "add_rope_table":
            arguments["frequencies"] = self._frequencies(arguments["frequencies"])
        if not instruction.waits:
            program.beside()
        getattr(program, instruction.method)(**arguments)

    def vector(self, ref: WeightRef) -> NDArray[np.float32]:
        """Return a small tensor's values."""
        values = np.array(dequantize(self.file.data(ref.name), ref.type, ref.shape))
        self.file.release(ref.name)
        return values

    def _frequencies(self, rope: Rope) -> list[float]:
        """Return the angle of each pair at position 1, in float64 [dims / 2]."""
        pairs = rope.base ** (-np.arange(0, rope.dims, 2, dtype=np.float64) / rope.dims) / rope.scale
        if rope.factors is not None:
            pairs = pairs / self.vector(rope.factors)
        found: list[float] = pairs.tolist()
        return found

    def _bias(self, ref: WeightRef | None, rows: int) -> list[float]:
        if ref is None:
            return []
        padded = np.zeros(-(-rows // 16) * 16, np.float32)
        padded[:rows] = self.vector(ref)
        values: list[float] = padded.tolist()
        return values


def _sources(ref: WeightRef, file: GGUFFile) -> Iterator[tuple[int, int, int, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield a matrix, or each of a stack, as `WeightArena.pack_all` takes them."""
    *stack, rows, width = ref.shape
    raw = weights.kernel_bytes(ref, file.data(ref.name)).reshape(math.prod(stack), -1)
    # Pages that may leave memory; of a stack all that lie in one matrix alone.
    around = file.around(ref.name)
    for i, matrix in enumerate(raw):
        begin, end = len(around) * i // len(raw), len(around) * (i + 1) // len(raw)
        begin, end = (-(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE)
        pages = around if len(raw) == 1 else around[begin : max(begin, end)]
        yield int(weights.kernel_type(ref).type), rows, width, matrix, pages


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
