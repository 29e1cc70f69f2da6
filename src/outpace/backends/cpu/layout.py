"""A plan lowered to instructions over one workspace: which buffer each value gets, what runs as one instruction.

Everything here follows from the plan and the limits, so it tells the memory of a run before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from outpace import _native
from outpace.backends.backend import Limits
from outpace.backends.cpu import weights
from outpace.backends.cpu.values import Values
from outpace.errors import UnsupportedError
from outpace.gguf.weights import WeightRef
from outpace.graph.cost import KVSpec, state_spec
from outpace.graph.ops import Rope
from outpace.graph.plan import WANTED, Node, Plan
from outpace.graph.step import CHUNK, PAGE

NONE = -1
ALIGN = 64  # bytes
BLOCK = 32  # activations that share a scale record
SCALE_BYTES = 16  # of one block's scale record

# Partial results of split attention may take this much; see program.h.
PARTIAL_BYTES = 8 << 20
PARTIAL_ROWS = 16
QUERIES = 8  # query rows that one call of the attention kernel handles together


class RowVerb(IntEnum):
    """Row-wise instructions, as in native/core/program.h."""

    COPY = 0
    NORM = 1
    SWIGLU = 2
    SILU = 3
    ADD = 4
    MUL = 5
    SCALE = 6


ROW_VERBS = {
    "rms_norm": RowVerb.NORM,
    "swiglu": RowVerb.SWIGLU,
    "silu": RowVerb.SILU,
    "add": RowVerb.ADD,
    "mul": RowVerb.MUL,
    "scale": RowVerb.SCALE,
}


@dataclass(slots=True)
class Buffer:
    """Where one value lies: float rows, rows of integer codes with scales, or both; offsets in bytes."""

    rows: int
    stride: int
    floats: int = NONE
    q: int = NONE
    scales: int = NONE


@dataclass(frozen=True, slots=True)
class Instruction:
    """One call of a `_native.Program.add_*` method; tensors and rotary settings are put in when weights are loaded."""

    method: str
    arguments: dict[str, Any]


@dataclass(slots=True)
class Layout:
    """The lowered plan.

    Attributes:
        instructions: In the order they run.
        workspace_bytes: What all buffers take.
        logits: Buffer of the logits.
    """

    plan: Plan
    limits: Limits
    threads: int
    instructions: list[Instruction] = field(default_factory=list)
    workspace_bytes: int = 0
    kv: tuple[KVSpec, ...] = ()
    partial: int = 0
    partial_rows: int = 0
    partial_chunks: int = 0
    scratch: int = 0
    scratch_bytes: int = 0
    logits: Buffer = field(default_factory=lambda: Buffer(0, 0))


def lower(plan: Plan, limits: Limits, threads: int) -> Layout:
    """Return the instructions and the workspace of a plan.

    Raises:
        UnsupportedError: A verb, tensor type or head width that the kernels do not have.
    """
    return _Lowering(plan, limits, threads).run()


class _Space:
    """Hands out stretches of the workspace and takes them back."""

    def __init__(self) -> None:
        self.end = 0
        self._free: list[tuple[int, int]] = []  # (bytes, offset)

    def take(self, n_bytes: int) -> int:
        size = -(-n_bytes // ALIGN) * ALIGN
        for i, (free, offset) in enumerate(self._free):
            if free == size:
                del self._free[i]
                return offset
        self.end += size
        return self.end - size

    def give(self, offset: int, n_bytes: int) -> None:
        self._free.append((-(-n_bytes // ALIGN) * ALIGN, offset))


class _Lowering:
    def __init__(self, plan: Plan, limits: Limits, threads: int) -> None:
        self._plan, self._limits = plan, limits
        self._layout = Layout(plan, limits, threads, kv=state_spec(plan).kv)
        self._layers = {spec.layer: i for i, spec in enumerate(self._layout.kv)}
        self._space = _Space()
        self._buffers: dict[int, Buffer] = {}
        self._values = Values(plan)
        self._done: set[int] = set()  # nodes run early, inside another's instruction
        self._tables: dict[Rope, int] = {}

    def run(self) -> Layout:
        layout = self._layout
        for spec in layout.kv:
            if spec.head_dim % 16:
                raise UnsupportedError("head width", str(spec.head_dim), ("multiples of 16",))
        self._emit_tables()
        for i, node in enumerate(self._plan.nodes):
            if i not in self._done:
                self._lower(i, node)
            self._release(i)
        layout.logits = self._buffers[self._values.resolve(self._plan.outputs["logits"])]
        self._add_shared()
        layout.workspace_bytes = self._space.end
        return layout

    def _emit(self, method: str, **arguments: Any) -> None:
        self._layout.instructions.append(Instruction(method, arguments))

    # Values and buffers.

    def _rows(self, value: int) -> int:
        return self._limits.max_wanted if self._plan.nodes[value].shape[0] == WANTED else self._limits.max_rows

    def _new(self, value: int, *, floats: bool = True, q: bool = False) -> Buffer:
        stride = -(-self._values.width(value) // BLOCK) * BLOCK
        buffer = Buffer(self._rows(value), stride)
        n = buffer.rows * stride
        if floats:
            buffer.floats = self._space.take(4 * n)
        self._buffers[value] = buffer
        if q:
            self._take_codes(value)
        return buffer

    def _take_codes(self, value: int) -> None:
        buffer = self._buffers[value]
        n = buffer.rows * buffer.stride
        buffer.q = self._space.take(_native.codes_bytes(buffer.rows, buffer.stride))
        buffer.scales = self._space.take(n // BLOCK * SCALE_BYTES)

    def _release(self, i: int) -> None:
        """Give back the buffers of values that nobody reads after node i."""
        for value in [v for v in self._buffers if v <= i and v not in self._plan.outputs.values()]:
            if all(reader <= i or reader in self._done for reader in self._values.final_readers(value)):
                buffer = self._buffers.pop(value)
                n = buffer.rows * buffer.stride
                if buffer.floats != NONE:
                    self._space.give(buffer.floats, 4 * n)
                if buffer.q != NONE:
                    self._space.give(buffer.q, _native.codes_bytes(buffer.rows, buffer.stride))
                    self._space.give(buffer.scales, n // BLOCK * SCALE_BYTES)

    # Verbs.

    def _lower(self, i: int, node: Node) -> None:
        if node.verb in ROW_VERBS:
            self._row_verb(i, node)
        elif node.verb == "embed":
            buffer = self._new(i)
            self._emit("add_embed", table=node.weights[0], out=buffer.floats, stride=buffer.stride)
        elif node.verb == "wanted":
            source = self._buffers[self._values.resolve(node.inputs[0])]
            buffer = self._new(i)
            self._emit("add_gather", x=source.floats, out=buffer.floats, stride=buffer.stride)
        elif node.verb in ("linear", "linear_add"):
            self._linear(i, node)
        elif node.verb == "attention":
            self._attention(i, node)
        elif node.verb == "rope":
            if not self._values.is_fused_rope(i):
                self._rope(i, node)
        elif node.verb != "heads":
            raise UnsupportedError("verb", node.verb, ("those of graph/ops.py that the CPU backend lowers",))

    def _row_verb(self, i: int, node: Node) -> None:
        floats, q = self._values.needs(i)
        inputs = [self._buffers[self._values.resolve(value)] for value in node.inputs]
        verb = ROW_VERBS[node.verb]
        # Without a float result only the codes are kept; the kernel works in the thread's scratch.
        buffer = self._new(i, floats=floats, q=q)
        width = self._values.width(i)
        last = node.shape[-1]
        assert isinstance(last, int)
        self._emit(
            "add_rows",
            verb=int(verb),
            rows=int(node.shape[0] == WANTED),
            x=inputs[0].floats,
            y=inputs[1].floats if len(inputs) > 1 else NONE,
            stride=buffer.stride,
            n=width,
            groups=width // last if verb is RowVerb.NORM else 1,
            factor=node.attrs.get("eps", node.attrs.get("factor", 0.0)),
            weight=node.weights[0] if node.weights else None,
            out=buffer.floats,
            q=buffer.q,
            scales=buffer.scales,
        )

    def _quantise(self, value: int) -> None:
        """Add the integer form of a value that has only floats so far."""
        buffer = self._buffers[value]
        self._take_codes(value)
        rows = int(self._plan.nodes[value].shape[0] == WANTED)
        self._emit(
            "add_rows", verb=int(RowVerb.COPY), rows=rows, x=buffer.floats, y=NONE, stride=buffer.stride,
            n=self._values.width(value), groups=1, factor=0.0, weight=None, out=buffer.floats, q=buffer.q,
            scales=buffer.scales,
        )  # fmt: skip

    def _linear(self, i: int, node: Node) -> None:
        """Lower a linear together with the others that read the same value: one instruction, one barrier."""
        source = self._values.resolve(node.inputs[0])
        quantised = weights.kernel_type(node.weights[0]).is_quantised
        if quantised and self._buffers[source].q == NONE:
            self._quantise(source)
        group = list(self._group(i, node, source, quantised))
        x = self._buffers[source]
        outs, residuals = [], []
        for index in group:
            member = self._plan.nodes[index]
            residual = NONE
            if member.verb == "linear_add":
                value = self._values.resolve(member.inputs[1])
                residual = self._buffers[value].floats
                if residual != NONE and self._values.is_last(value, index) and self._buffers[value].q == NONE:
                    self._buffers[index] = self._buffers.pop(value)  # the sum takes the place of its operand
            outs.append(self._buffers.get(index) or self._new(index))
            residuals.append(residual)
        self._done.update(group[1:])
        self._emit(
            "add_linear",
            rows=int(node.shape[0] == WANTED),
            x=NONE if quantised else x.floats,
            q=x.q if quantised else NONE,
            scales=x.scales if quantised else NONE,
            in_stride=x.stride,
            weights=[self._plan.nodes[index].weights[0] for index in group],
            outs=[out.floats for out in outs],
            strides=[out.stride for out in outs],
            residuals=residuals,
            biases=[(self._plan.nodes[index].weights[1:] or (None,))[0] for index in group],
        )

    def _group(self, i: int, node: Node, source: int, quantised: bool) -> Iterator[int]:
        yield i
        if node.verb != "linear":
            return
        for other in self._values.real_readers(source):
            candidate = self._plan.nodes[other]
            is_free = other > i and other not in self._done and candidate.verb == "linear"
            if is_free and weights.kernel_type(candidate.weights[0]).is_quantised == quantised:
                yield other

    # Attention.

    def _attention(self, i: int, node: Node) -> None:
        (q, q_rope), (k, k_rope) = self._values.unturned(node.inputs[0]), self._values.unturned(node.inputs[1])
        v = self._values.resolve(node.inputs[2])
        layer = self._layers[node.attrs["layer"]]
        spec = self._layout.kv[layer]
        q_buffer, k_buffer, v_buffer = self._buffers[q], self._buffers[k], self._buffers[v]
        out = self._new(i)
        styles = {rope.style for rope in (q_rope, k_rope) if rope}
        assert len(styles) <= 1, "query and key turn in different styles"
        n_heads = self._values.width(i) // spec.head_dim
        # Query and key are turned, and the query scaled, in place.
        assert all(self._values.final_readers(value) == [i] for value in (q, k)), "somebody else reads q or k"
        self._emit(
            "add_kv_write", layer=layer, q=q_buffer.floats, q_out=q_buffer.floats, q_stride=q_buffer.stride,
            n_heads=n_heads, k=k_buffer.floats, k_out=k_buffer.floats, v=v_buffer.floats, kv_stride=k_buffer.stride,
            n_kv_heads=spec.n_kv_heads, head_dim=spec.head_dim, neox=int("neox" in styles),
            q_table=self._tables[q_rope] if q_rope else NONE, k_table=self._tables[k_rope] if k_rope else NONE,
            scale=node.attrs["scale"],
        )  # fmt: skip
        self._emit(
            "add_attention", layer=layer, q=q_buffer.floats, out=out.floats, stride=out.stride, n_heads=n_heads,
            head_dim=spec.head_dim,
        )  # fmt: skip

    def _rope(self, i: int, node: Node) -> None:
        source = self._buffers[self._values.resolve(node.inputs[0])]
        out = self._new(i)
        rope: Rope = node.attrs["rope"]
        _, n_heads, head_dim = node.shape
        self._emit(
            "add_rope", x=source.floats, out=out.floats, stride=out.stride, n_heads=n_heads, head_dim=head_dim,
            neox=int(rope.style == "neox"), table=self._tables[rope],
        )  # fmt: skip

    def _emit_tables(self) -> None:
        for node in self._plan.nodes:
            rope = node.attrs.get("rope")
            if rope is not None and rope not in self._tables:
                self._tables[rope] = len(self._tables)
                out = self._space.take(4 * self._limits.max_rows * rope.dims)
                self._emit("add_rope_table", frequencies=rope, out=out)

    def _add_shared(self) -> None:
        """Reserve what all instructions share: split attention's partial results, each thread's scratch."""
        layout = self._layout
        heads = [(self._values.width(i), node) for i, node in enumerate(self._plan.nodes) if node.verb == "attention"]
        widest = max((spec.head_dim for spec in layout.kv), default=0)
        layout.partial_chunks = -(-self._limits.n_pages * PAGE // CHUNK)
        per_row = max(
            (
                4 * width // spec.head_dim * (spec.head_dim + 2)
                for (width, _), spec in zip(heads, layout.kv, strict=True)
            ),
            default=0,
        )
        row_bytes = max(1, per_row * layout.partial_chunks)
        layout.partial_rows = min(PARTIAL_ROWS, self._limits.max_rows, max(1, PARTIAL_BYTES // row_bytes))
        layout.partial = self._space.take(layout.partial_rows * row_bytes)
        strides = [
            -(-self._values.width(i) // BLOCK) * BLOCK
            for i in range(len(self._plan.nodes))
            if self._plan.nodes[i].verb in ROW_VERBS
        ]
        floats = max(QUERIES * (CHUNK + 3 * widest + 4) + widest, *strides)
        layout.scratch_bytes = -(-4 * floats // ALIGN) * ALIGN
        layout.scratch = self._space.take(layout.threads * layout.scratch_bytes)


def tensors(layout: Layout) -> Iterator[WeightRef]:
    """Return the matrices that a layout's instructions read, each once, in the order they run."""
    seen: set[str] = set()
    for instruction in layout.instructions:
        refs = instruction.arguments.get("weights") or [instruction.arguments.get("table")]
        for ref in refs:
            if isinstance(ref, WeightRef) and ref.name not in seen:
                seen.add(ref.name)
                yield ref
