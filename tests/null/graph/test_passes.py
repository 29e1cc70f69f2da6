"""Laws of plans: eager = replay of the traced plan = replay of the optimised one, to the bit."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.tiny import write_tiny

from outpace.backends.reference import PagedKV, ReferenceOps, Tensors, alone
from outpace.gguf.file import open_gguf
from outpace.gguf.types import GGMLType
from outpace.gguf.weights import WeightRef, Weights
from outpace.graph.fusion import fuse_residual, fuse_swiglu
from outpace.graph.ops import Ops
from outpace.graph.passes import optimise
from outpace.graph.plan import WANTED
from outpace.graph.replay import replay
from outpace.graph.step import Segment, Step
from outpace.graph.trace import Tracer, trace
from outpace.models import load_plan

TOKENS = [5, 1, 60, 7, 7, 33, 2]


def w(name: str, *shape: int) -> WeightRef:
    return WeightRef(name, GGMLType.F32, shape, 0)


@pytest.mark.parametrize("arch", ["llama", "qwen3", "qwen35", "qwen35moe", "qwen3next"])
@pytest.mark.parametrize("tied", [True, False])
def test_eager_traced_and_optimised_agree_to_the_bit(arch: str, tied: bool, tmp_path: Path):
    with open_gguf(write_tiny(tmp_path / "tiny.gguf", arch, tied=tied)) as file:
        model = load_plan(file)
        eager, traced, optimised = (alone(file, TOKENS) for _ in range(3))
        model.definition.trunk(eager, Weights(file), model.config)
        replay(model.traced, traced)
        replay(model.plan, optimised)
    assert eager.outputs["logits"].shape == (len(TOKENS), 64)
    assert np.array_equal(eager.outputs["logits"], traced.outputs["logits"])
    assert np.array_equal(eager.outputs["logits"], optimised.outputs["logits"])


def test_a_plan_replayed_through_a_tracer_is_itself(tmp_path: Path):
    with open_gguf(write_tiny(tmp_path / "tiny.gguf")) as file:
        plan = load_plan(file).traced
    tracer = Tracer("trunk")
    replay(plan, tracer)
    assert tracer.plan() == plan


def test_every_layer_is_fused(tmp_path: Path):
    with open_gguf(write_tiny(tmp_path / "tiny.gguf", n_layers=3)) as file:
        verbs = [node.verb for node in load_plan(file).plan.nodes]
    assert verbs.count("swiglu") == 3
    assert verbs.count("linear_add") == 6
    assert not {"add", "mul", "silu"} & set(verbs)


def test_every_layer_of_a_hybrid_is_fused(tmp_path: Path):
    with open_gguf(write_tiny(tmp_path / "tiny.gguf", "qwen35", n_layers=4)) as file:
        nodes = load_plan(file).plan.nodes
    verbs = [node.verb for node in nodes]
    assert [verbs.count(verb) for verb in ("conv", "gated_delta", "norm_swiglu", "gated", "swiglu")] == [2, 2, 2, 2, 4]
    assert all(node.attrs["silu"] for node in nodes if node.verb == "conv")
    assert ["factor" in node.attrs for node in nodes if node.verb == "l2_norm"].count(True) == 2
    # What is left of them: beta of a gated-delta layer.
    assert verbs.count("sigmoid") == 2
    assert not {"mul", "silu", "scale"} & set(verbs)


def test_what_is_read_elsewhere_is_not_fused_away():
    def program(ops: Ops) -> None:
        x = ops.embed(w("table", 8, 8))
        gate = ops.silu(x)
        product = ops.linear(ops.mul(gate, x), w("a", 8, 8))
        y = ops.add(x, product)
        ops.output("logits", ops.mul(ops.mul(y, gate), product))

    plan = trace("trunk", program)
    assert optimise(plan) == plan


def test_a_named_result_survives_the_passes():
    def program(ops: Ops) -> None:
        x = ops.embed(w("table", 8, 8))
        gate = ops.silu(x)
        ops.output("gate", gate)
        product = ops.linear(ops.mul(gate, x), w("a", 8, 8))
        ops.output("product", product)
        ops.output("logits", ops.add(x, product))

    plan = trace("trunk", program)
    for fused in (fuse_swiglu(plan), fuse_residual(plan), optimise(plan)):
        assert {fused.nodes[i].verb for i in fused.outputs.values()} >= {"silu", "linear"}


def test_a_bias_is_not_lost_in_a_residual_sum():
    def program(ops: Ops) -> None:
        x = ops.embed(w("table", 8, 8))
        ops.output("logits", ops.add(x, ops.linear(x, w("a", 8, 8), w("b", 8))))

    plan = trace("trunk", program)
    assert optimise(plan) == plan


def test_attention_is_kept_for_its_cache_even_when_nobody_reads_it():
    def program(ops: Ops) -> None:
        x = ops.embed(w("table", 8, 8))
        h = ops.heads(x, 2)
        ops.attention(h, h, h, layer=0, scale=1.0)
        ops.silu(x)
        ops.output("logits", x)

    assert [node.verb for node in optimise(trace("trunk", program)).nodes] == ["embed", "heads", "attention"]


def test_only_wanted_rows_go_through_what_follows_the_last_attention(tmp_path: Path):
    with open_gguf(write_tiny(tmp_path / "tiny.gguf", n_layers=2)) as file:
        model = load_plan(file)
        last = max(i for i, node in enumerate(model.plan.nodes) if node.verb == "attention")
        assert {node.shape[0] for node in model.plan.nodes[last + 1 :]} == {WANTED}
        pages = np.arange(1, dtype=np.int32)
        step = Step(TOKENS, [Segment(0, len(TOKENS), pages)], [1, 3])
        found = []
        for plan in (model.traced, model.plan):
            ops = ReferenceOps(step, Tensors(file), PagedKV(1, "f32"))
            replay(plan, ops)
            found.append(ops.outputs["logits"])
    assert found[0].shape == (2, 64)
    assert np.array_equal(*found)
