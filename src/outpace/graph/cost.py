"""What a plan needs: the state each sequence carries and the work and bytes of a step, from the plan alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from outpace.graph.plan import TOKENS, Node, Plan

# Bits of a cached value; where it is a code, 32 values of a head share an f16 scale.
KV_BITS = {"f16": 16, "q8_0": 8, "q4_0": 4}


@dataclass(frozen=True, slots=True)
class KVSpec:
    """The KV cache of one attention layer: G heads of K dimensions for a position, keys and values."""

    layer: int
    n_kv_heads: int
    head_dim: int

    def bytes_per_token(self, kv_type: str) -> int:
        """Return bytes for one position, keys and values."""
        scale_bytes = 0 if kv_type == "f16" else 2 * -(-self.head_dim // 32)
        return 2 * self.n_kv_heads * (self.head_dim * KV_BITS[kv_type] // 8 + scale_bytes)


@dataclass(frozen=True, slots=True)
class RecurrentSpec:
    """The state of one recurrent layer, all of it float32.

    Attributes:
        layer: Its number.
        n_channels: Channels C of the convolution.
        kernel: Its length J: the state keeps the last J - 1 inputs.
        n_heads: Value heads H.
        n_key_heads: Key heads G.
        key_dim: Width K of a key head; a head's memory is [K, V].
        value_dim: Width V of a value head.
    """

    layer: int
    n_channels: int
    kernel: int
    n_heads: int
    n_key_heads: int
    key_dim: int
    value_dim: int

    @property
    def state_bytes(self) -> int:
        """Bytes of one sequence's state: the memories and the convolution's last inputs."""
        return 4 * (self.n_heads * self.key_dim * self.value_dim + (self.kernel - 1) * self.n_channels)

    @property
    def staged_bytes(self) -> int:
        """Bytes that one staged row takes: convolution input, keys, values, decay and beta."""
        values = self.n_key_heads * self.key_dim + self.n_heads * (self.value_dim + 2)
        return 4 * (self.n_channels + values)


@dataclass(frozen=True, slots=True)
class StateSpec:
    """What a sequence must carry between steps, read off the plan's stateful verbs."""

    kv: tuple[KVSpec, ...]
    recurrent: tuple[RecurrentSpec, ...] = ()

    def slot_bytes(self, max_draft: int) -> int:
        """Return bytes of one sequence's recurrent state with room for so many staged rows, over all layers."""
        return sum(spec.state_bytes + max_draft * spec.staged_bytes for spec in self.recurrent)


@dataclass(frozen=True, slots=True)
class StepCost:
    """Work of a step: each weight is read once, each row multiplies through all of them.

    Attributes:
        weight_bytes: Bytes of weights read by a step, as stored in the file (embedding look-ups left out); of experts,
            as many as one row uses.
        macs_per_row: Multiply-adds through the weights for each row of the step.
        macs_per_wanted: Multiply-adds for each row whose logits or hidden state are wanted.
    """

    weight_bytes: int
    macs_per_row: int
    macs_per_wanted: int


def state_spec(plan: Plan) -> StateSpec:
    """Return the state that the plan's stateful verbs imply."""
    kv, recurrent = [], []
    convolutions = {node.attrs["layer"]: node for node in plan.nodes if node.verb == "conv"}
    for node in plan.nodes:
        if node.verb in ("attention", "write_kv"):
            # The keys: first of the two that are written.
            _, n_kv_heads, head_dim = plan.nodes[node.inputs[-2]].shape
            assert isinstance(n_kv_heads, int) and isinstance(head_dim, int)
            kv.append(KVSpec(node.attrs["layer"], n_kv_heads, head_dim))
        elif node.verb == "gated_delta":
            recurrent.append(_recurrent(plan, node, convolutions[node.attrs["layer"]]))
    return StateSpec(tuple(kv), tuple(recurrent))


def border_bytes(plan: Plan, draft: Plan) -> int:
    """Return bytes of hidden states that are kept with each page, so that a draft program can go on after it.

    None where recurrent states are: a text goes on after few pages then, and what is kept for one holds this too.

    Args:
        plan: The trunk.
        draft: The draft program; None are kept for one that reads no hidden states, or has no cache to go on with.
    """
    if state_spec(plan).recurrent or not state_spec(draft).kv:
        return 0
    return sum(4 * int(node.attrs["width"]) for node in draft.nodes if node.verb == "hidden")


def _recurrent(plan: Plan, node: Node, convolution: Node) -> RecurrentSpec:
    n_channels, kernel = convolution.weights[0].shape
    _, n_key_heads, key_dim = plan.nodes[node.inputs[1]].shape
    _, n_heads, value_dim = node.shape
    assert isinstance(n_key_heads, int) and isinstance(key_dim, int)
    assert isinstance(n_heads, int) and isinstance(value_dim, int)
    return RecurrentSpec(node.attrs["layer"], n_channels, kernel, n_heads, n_key_heads, key_dim, value_dim)


def step_cost(plan: Plan) -> StepCost:
    """Return the bytes and multiply-adds of a step."""
    n_bytes, per_row, per_wanted = 0, 0, 0
    for node in plan.nodes:
        if node.verb.startswith("linear"):
            used, of = 1, 1
        elif node.verb == "experts":
            used, of = node.attrs["n_used"], node.weights[0].shape[0]
        else:
            continue
        matrices = node.weights if node.verb == "experts" else node.weights[:1]
        n_bytes += sum(each.n_bytes for each in matrices) * used // of
        macs = sum(math.prod(each.shape) for each in matrices) * used // of
        if node.shape[0] == TOKENS:
            per_row += macs
        else:
            per_wanted += macs
    return StepCost(n_bytes, per_row, per_wanted)
