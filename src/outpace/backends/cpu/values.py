"""What a plan's values need of the backend: who reads them, in which form, and which share a buffer."""

from __future__ import annotations

from enum import IntEnum
from types import MappingProxyType

from outpace.backends.cpu import weights
from outpace.graph.ops import Rope
from outpace.graph.plan import Plan


class RowVerb(IntEnum):
    """Row-wise instructions, as in native/core/op.h."""

    COPY = 0
    NORM = 1
    SWIGLU = 2
    SILU = 3
    ADD = 4
    MUL = 5
    SCALE = 6
    MUL_ROW = 7
    SIGMOID = 8
    GATE = 9
    L2_NORM = 10
    NORM_SWIGLU = 11
    DECAY = 12


ROW_VERBS = MappingProxyType(
    {
        "rms_norm": RowVerb.NORM,
        "swiglu": RowVerb.SWIGLU,
        "silu": RowVerb.SILU,
        "add": RowVerb.ADD,
        "mul": RowVerb.MUL,
        "scale": RowVerb.SCALE,
        "sigmoid": RowVerb.SIGMOID,
        "gated": RowVerb.GATE,
        "l2_norm": RowVerb.L2_NORM,
        "norm_swiglu": RowVerb.NORM_SWIGLU,
        "decay": RowVerb.DECAY,
    }
)


class Values:
    """Questions about the values of one plan, answered with verbs that compute nothing seen through."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._readers = plan.readers()

    def resolve(self, value: int) -> int:
        """Return the value whose buffer this one shares: `heads` only changes how rows are read."""
        while self._plan.nodes[value].verb == "heads":
            value = self._plan.nodes[value].inputs[0]
        return value

    def width(self, value: int) -> int:
        """Return the floats in one row of a value."""
        width = 1
        for size in self._plan.nodes[value].shape[1:]:
            assert isinstance(size, int)
            width *= size
        return width

    def real_readers(self, value: int) -> list[int]:
        """Return the nodes that read a value, seen through `heads`."""
        found: list[int] = []
        for reader in self._readers[value]:
            found += self.real_readers(reader) if self._plan.nodes[reader].verb == "heads" else [reader]
        return found

    def needs(self, value: int) -> tuple[bool, bool]:
        """Return whether a value's readers want floats, and whether they want int8."""
        floats = value in self._plan.outputs.values()
        q = False
        for reader in self.real_readers(value):
            node = self._plan.nodes[reader]
            if node.verb in ("linear", "linear_add") and self.resolve(node.inputs[0]) == value:
                is_quantised = weights.kernel_type(node.weights[0]).is_quantised
                q, floats = q or is_quantised, floats or not is_quantised
                if node.verb == "linear_add" and self.resolve(node.inputs[1]) == value:
                    floats = True
            elif node.verb == "experts" and self.resolve(node.inputs[0]) == value:
                is_quantised = weights.kernel_type(node.weights[0]).is_quantised
                q, floats = q or is_quantised, floats or not is_quantised
            else:
                floats = True
        return floats, q

    def final_readers(self, value: int) -> list[int]:
        """Return the nodes whose instructions read a value's buffer: not a rope done by its attention, not a view."""
        found: list[int] = []
        for reader in self.real_readers(value):
            is_rope = self._plan.nodes[reader].verb == "rope" and self.is_fused_rope(reader)
            found += self.final_readers(reader) if is_rope or self.is_view(reader) else [reader]
        return found

    def is_last(self, value: int, reader: int) -> bool:
        """Return whether nobody reads a value after `reader`."""
        return max(self.final_readers(value)) == reader and value not in self._plan.outputs.values()

    def is_view(self, i: int) -> bool:
        """Return whether a value is a part of another that all its readers can read where it lies."""
        node = self._plan.nodes[i]
        if node.verb != "part" or i in self._plan.outputs.values():
            return False
        is_grouped = len(node.shape) > 2
        readers = self._readers[i] if is_grouped else self.real_readers(i)
        if self.is_view(self.resolve(node.inputs[0])):
            return False
        verbs = {self._plan.nodes[reader].verb for reader in readers}
        return verbs <= set(ROW_VERBS) or (not is_grouped and verbs == {"gated_delta"})

    def concatenated(self, value: int) -> tuple[int, int] | None:
        """Return the value that one is put into, and where in its rows, if that is all it is read for."""
        readers = self.real_readers(value)
        if len(readers) != 1 or value in self._plan.outputs.values():
            return None
        node = self._plan.nodes[readers[0]]
        if node.verb != "concat" or self._plan.nodes[value].verb not in ROW_VERBS:
            return None
        parts = [self.resolve(each) for each in node.inputs]
        return readers[0], sum(self.width(each) for each in parts[: parts.index(value)])

    def is_fused_rope(self, i: int) -> bool:
        """Return whether a rope only feeds an attention's query or key: then it is turned as the cache is written."""
        source = self.resolve(self._plan.nodes[i].inputs[0])
        return (
            [self._plan.nodes[r].verb for r in self.real_readers(i)] == ["attention"]
            and self.real_readers(source) == [i]
        )  # fmt: skip

    def unturned(self, value: int) -> tuple[int, Rope | None]:
        """Return the value that holds a head before turning, and how it is turned."""
        value = self.resolve(value)
        node = self._plan.nodes[value]
        if node.verb == "rope" and self.is_fused_rope(value):
            return self.resolve(node.inputs[0]), node.attrs["rope"]
        return value, None
