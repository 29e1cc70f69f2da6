"""The lowering of one plan in progress: which buffer each value has, when it is given back, what waits for what."""

from __future__ import annotations

from typing import Any

from outpace.backends.backend import Limits
from outpace.backends.cpu.buffers import NONE, Buffer, Extent, Hazards, Space, padded
from outpace.backends.cpu.layout import Instruction, Layout, Sizes
from outpace.backends.cpu.values import ROW_VERBS, Values
from outpace.graph.cost import KVSpec, RecurrentSpec, state_spec
from outpace.graph.ops import Rope
from outpace.graph.plan import EXPORTED, TOKENS, WANTED, Plan
from outpace.graph.step import CHUNK, PAGE

ALIGN = 64

# As in native/core/op.h.
KINDS = {TOKENS: 0, EXPORTED: 1, WANTED: 2}

# Partial results of split attention may take this much; see native/core/program.h.
PARTIAL_BYTES = 8 << 20
PARTIAL_ROWS = 16
DELTA_COLUMNS = 64  # of a head's memory that one call of the gated-delta kernel handles; see native/kernels/kernels.h
QUERIES = 8  # query rows that one call of the attention kernel handles together


class Lowering:
    """What the lowering of every verb works with.

    State: the layout that grows, the buffers of values that are still read, the free stretches of the workspace.

    Attributes:
        plan: What is lowered.
        values: Questions about its values.
        layout: What it is lowered to.
        done: Nodes that were run early, inside another's instruction.
        tables: Number of each rotary table.
        table_extents: Where they lie.
    """

    def __init__(self, plan: Plan, limits: Limits, sizes: Sizes, threads: int) -> None:
        self.plan, self.values = plan, Values(plan)
        self.layout = Layout(plan, sizes, threads, state_spec(plan))
        self.done: set[int] = set()
        self.tables: dict[Rope, int] = {}
        self.table_extents: list[Extent] = []
        self._layers = {spec.layer: i for i, spec in enumerate(self.layout.state.kv)}
        self._recurrent = {spec.layer: i for i, spec in enumerate(self.layout.state.recurrent)}
        self._space, self._hazards = Space(), Hazards()
        self._buffers: dict[int, Buffer] = {}
        self._reserve_shared(limits.n_pages)

    def emit(self, method: str, reads: list[Extent], writes: list[Extent], **arguments: Any) -> None:
        """Add an instruction that reads and writes these extents."""
        self.layout.instructions.append(Instruction(method, arguments, self._hazards.waits(reads, writes)))

    def finish(self) -> Layout:
        """Return the layout, all nodes being lowered."""
        for name, value in self.plan.outputs.items():
            self.layout.outputs[name] = self.buffer(value)
        self.layout.workspace_bytes = self._space.end
        return self.layout

    # Values and their buffers.

    def kind(self, value: int) -> int:
        """Return which rows of a step a value has, as native code counts kinds."""
        return KINDS[str(self.plan.nodes[value].shape[0])]

    def buffer(self, value: int) -> Buffer:
        """Return where a value lies."""
        return self._buffers[self.values.resolve(value)]

    def buffer_if_any(self, value: int) -> Buffer | None:
        """Return where a value lies if it has a place already."""
        return self._buffers.get(value)

    def new(self, value: int, *, floats: bool = True, q: bool = False) -> Buffer:
        """Give a value a buffer: its place in the value it is a part of, if all it is read for is to be put there."""
        width = self.values.width(value)
        wide = self.values.concatenated(value)
        if wide is not None and floats and not q:
            whole, begin = wide
            found = (self._buffers.get(whole) or self.new(whole)).part(begin, width)
            self._buffers[value] = found
            return found
        buffer = Buffer(self.layout.sizes.of(self.plan.nodes[value].shape[0]), width, padded(width))
        if floats:
            buffer.floats = self._space.take(4 * buffer.rows * buffer.stride)
        self._buffers[value] = buffer
        if q:
            self.take_codes(value)
        return buffer

    def view(self, value: int, buffer: Buffer) -> None:
        """Let a value lie in part of another's buffer."""
        self._buffers[value] = buffer

    def move(self, source: int, value: int) -> None:
        """Let a value take the place of another, which nobody reads any more."""
        self._buffers[value] = self._buffers.pop(source)

    def take_codes(self, value: int) -> None:
        """Reserve room for a value's codes."""
        buffer = self._buffers[value]
        buffer.q = self._space.take(buffer.code_bytes)
        buffer.scales = self._space.take(buffer.scale_bytes)

    def take(self, n_bytes: int) -> int:
        """Reserve bytes for the whole run."""
        return self._space.take(n_bytes)

    def lend(self, rows: int, width: int, *, codes: bool = False) -> Buffer:
        """Return a buffer that no value has, of floats or of codes, until it is given back."""
        buffer = Buffer(rows, width, padded(width))
        if codes:
            buffer.q = self._space.take(buffer.code_bytes)
            buffer.scales = self._space.take(buffer.scale_bytes)
        else:
            buffer.floats = self._space.take(4 * rows * buffer.stride)
        return buffer

    def give_back(self, buffer: Buffer) -> None:
        """Let other values have a buffer's room."""
        if buffer.floats != NONE and not buffer.is_view:
            self._space.give(buffer.floats, 4 * buffer.rows * buffer.stride)
        if buffer.q != NONE:
            self._space.give(buffer.q, buffer.code_bytes)
            self._space.give(buffer.scales, buffer.scale_bytes)

    def release(self, i: int) -> None:
        """Give back the buffers of values that nobody reads after node i."""
        for value in [v for v in self._buffers if v <= i and v not in self.plan.outputs.values()]:
            if all(reader <= i or reader in self.done for reader in self.values.final_readers(value)):
                self.give_back(self._buffers.pop(value))

    # What all instructions share.

    def kv(self, layer: int) -> tuple[int, KVSpec, list[Extent]]:
        """Return a layer's number in the cache, its shape, and the extent that stands for its pages."""
        i = self._layers[layer]
        return i, self.layout.state.kv[i], [(-i - 1, -i)]

    def recurrent(self, layer: int) -> tuple[int, RecurrentSpec, list[Extent]]:
        """Return a recurrent layer's number among those, its shape, and the extent that stands for its states."""
        i = self._recurrent[layer]
        below = -len(self._layers) - i
        return i, self.layout.state.recurrent[i], [(below - 1, below)]

    def partial(self) -> list[Extent]:
        """Return the extent of split attention's partial results."""
        return [(self.layout.partial, self.layout.scratch)]

    def _reserve_shared(self, n_pages: int) -> None:
        """Reserve split attention's partial results and each thread's scratch."""
        layout, nodes = self.layout, self.plan.nodes
        widest = max((spec.head_dim for spec in layout.state.kv), default=0)
        layout.partial_chunks = -(-n_pages * PAGE // CHUNK)
        per_row = 1
        for i, node in enumerate(nodes):
            if node.verb == "attention":
                head_dim = self.kv(node.attrs["layer"])[1].head_dim
                per_row = max(per_row, 4 * self.values.width(i) // head_dim * (head_dim + 2))
        row_bytes = per_row * layout.partial_chunks
        layout.partial_rows = min(PARTIAL_ROWS, layout.sizes.rows, max(1, PARTIAL_BYTES // max(1, row_bytes)))
        layout.partial = self._space.take(layout.partial_rows * row_bytes)
        strides = [padded(self.values.width(i)) for i, node in enumerate(nodes) if node.verb in ROW_VERBS]
        stretches = [spec.key_dim * DELTA_COLUMNS for spec in layout.state.recurrent]
        # An expert's row of hidden values, a row's shares of all experts.
        mixtures = [max(node.weights[0].shape[:2]) for node in nodes if node.verb == "experts"]
        floats = max(QUERIES * (CHUNK + 3 * widest + 4) + widest, *strides, *stretches, *map(padded, mixtures), 1)
        layout.scratch_bytes = padded(4 * floats, ALIGN)
        layout.scratch = self._space.take(layout.threads * layout.scratch_bytes)
