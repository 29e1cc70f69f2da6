"""What a plan needs: the state each sequence carries and the work and bytes of a step, from the plan alone."""

from __future__ import annotations

from dataclasses import dataclass

from outpace.graph.plan import WANTED, Plan

KV_TYPES = ("f16", "q8_0")


@dataclass(frozen=True, slots=True)
class KVSpec:
    """The KV cache of one attention layer: G heads of K dimensions for a position, keys and values."""

    layer: int
    n_kv_heads: int
    head_dim: int

    def bytes_per_token(self, kv_type: str) -> int:
        """Return bytes for one position: f16, or q8_0 with one f16 scale for each 32 values of a head."""
        values = 2 * self.n_kv_heads * self.head_dim
        return values * 2 if kv_type == "f16" else values + 2 * 2 * self.n_kv_heads * -(-self.head_dim // 32)


@dataclass(frozen=True, slots=True)
class StateSpec:
    """What a sequence must carry between steps, read off the plan's stateful verbs."""

    kv: tuple[KVSpec, ...]

    def kv_bytes_per_token(self, kv_type: str) -> int:
        """Return bytes of KV cache for one position over all layers."""
        return sum(spec.bytes_per_token(kv_type) for spec in self.kv)


@dataclass(frozen=True, slots=True)
class StepCost:
    """Work of a step: each weight is read once, each row multiplies through all of them.

    Attributes:
        weight_bytes: Bytes of weights read by a step, as stored in the file (embedding look-ups left out).
        macs_per_row: Multiply-adds through the weights for each row of the step.
        macs_per_wanted: Multiply-adds for each row whose logits are wanted.
    """

    weight_bytes: int
    macs_per_row: int
    macs_per_wanted: int


def state_spec(plan: Plan) -> StateSpec:
    """Return the state that the plan's stateful verbs imply."""
    specs = []
    for node in plan.nodes:
        if node.verb == "attention":
            _, n_kv_heads, head_dim = plan.nodes[node.inputs[1]].shape
            assert isinstance(n_kv_heads, int) and isinstance(head_dim, int)
            specs.append(KVSpec(node.attrs["layer"], n_kv_heads, head_dim))
    return StateSpec(tuple(specs))


def step_cost(plan: Plan) -> StepCost:
    """Return the bytes and multiply-adds of a step."""
    n_bytes, per_row, per_wanted = 0, 0, 0
    for node in plan.nodes:
        if not node.verb.startswith("linear"):
            continue
        rows, width = node.weights[0].shape
        n_bytes += node.weights[0].n_bytes
        if node.shape[0] == WANTED:
            per_wanted += rows * width
        else:
            per_row += rows * width
    return StepCost(n_bytes, per_row, per_wanted)
