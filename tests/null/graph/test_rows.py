"""Laws of plans that compute fewer rows: what is read has the bits of the plan as it was written."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.support.tiny import write_tiny

from outpace.backends.reference import PagedKV, ReferenceOps, Tensors
from outpace.gguf.file import GGUFFile, open_gguf
from outpace.gguf.types import GGMLType
from outpace.gguf.weights import WeightRef
from outpace.graph.cost import state_spec, step_cost
from outpace.graph.fusion import fuse
from outpace.graph.ops import Ops
from outpace.graph.passes import hoist_wanted, kv_only, optimise
from outpace.graph.plan import EXPORTED, TOKENS, WANTED, Plan
from outpace.graph.replay import replay
from outpace.graph.step import Segment, Step
from outpace.graph.trace import trace
from outpace.models import load_plan

TEXT = [5, 1, 60, 7, 7, 33, 2, 9, 0]
N = len(TEXT)
HIDDEN = np.random.default_rng(0).normal(size=(N, 32)).astype(np.float32)
# Wanted and exported rows.
PICKS = [([], []), ([], [4]), ([8], [8]), ([2, 8], [1, 2, 8]), (range(N), range(N)), ([0], range(7))]


@pytest.fixture(params=["llama", "qwen3", "qwen35", "qwen35moe", "qwen3next"])
def file(request, tmp_path: Path):
    with open_gguf(write_tiny(tmp_path / "tiny.gguf", request.param)) as opened:
        yield opened


def plans(file: GGUFFile) -> list[Plan]:
    """Return the file's programs as they are written."""
    model = load_plan(file)
    return [plan for plan in (model.traced, model.traced_draft) if plan]


def run(plan: Plan, file: GGUFFile, wanted: Sequence[int] = (), exported: Sequence[int] = ()):
    """Play a plan over the text in one step; return its outputs and what it left in the cache."""
    cache = PagedKV(1, "f32")
    step = Step(TEXT, [Segment(0, N, np.zeros(1, np.int32))], wanted, exported, HIDDEN)
    ops = ReferenceOps(step, Tensors(file), cache)
    replay(plan, ops)
    return ops.outputs, [array for spec in state_spec(plan).kv for array in cache.read(spec.layer, np.arange(N))]


def same(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(("wanted", "exported"), PICKS)
def test_rows_picked_early_are_rows_picked_late(file, wanted, exported):
    for plan in plans(file):
        late, late_kv = run(plan, file, wanted, exported)
        early, early_kv = run(hoist_wanted(fuse(plan)), file, wanted, exported)
        assert late.keys() == early.keys()
        assert same(list(late.values()), list(early.values()))
        assert same(late_kv, early_kv)


def test_without_a_word_on_it_the_wanted_rows_are_exported(tmp_path: Path):
    with open_gguf(write_tiny(tmp_path / "tiny.gguf", "qwen35")) as file:
        for plan in (load_plan(file).traced, load_plan(file).plan):
            said, unsaid = run(plan, file, [2, 8], [2, 8]), run(plan, file, [2, 8])
            assert same(list(said[0].values()), list(unsaid[0].values()))
            with pytest.raises(AssertionError, match="a wanted row is not exported"):
                run(plan, file, [2, 8], [2, 7])


def test_catching_up_leaves_the_keys_and_values_of_the_whole_program(file):
    for plan in plans(file):
        _, whole = run(plan, file)
        for written in (plan, optimise(plan)):
            outputs, kv = run(kv_only(written), file)
            assert not outputs
            assert same(kv, whole)
            assert state_spec(kv_only(written)) == state_spec(plan)


def test_the_last_attention_asks_only_for_rows_that_are_read(tmp_path: Path):
    with open_gguf(write_tiny(tmp_path / "tiny.gguf", "qwen35", n_layers=4)) as file:
        model = load_plan(file)
    for plan in (model.plan, model.draft):
        attentions = [node for node in plan.nodes if node.verb == "attention"]
        *others, last = ([plan.nodes[i].shape[0] for i in node.inputs] + [node.shape[0]] for node in attentions)
        assert last == [EXPORTED, TOKENS, TOKENS, EXPORTED]
        assert all(set(each) == {TOKENS} for each in others)
    # In the draft program only what makes keys and values is left to the other rows.
    cost, least = step_cost(model.draft), step_cost(kv_only(model.draft))
    assert cost.macs_per_row == least.macs_per_row == 32 * 64 + 2 * 32 * 32


def test_wanted_rows_are_taken_from_the_exported_ones():
    def program(ops: Ops) -> None:
        table = WeightRef("table", GGMLType.F32, (8, 8), 0)
        x = ops.silu(ops.embed(table))
        h = ops.sigmoid(ops.exported(x))
        ops.output("hidden", h)
        ops.output("logits", ops.linear(ops.wanted(ops.scale(h, 2.0)), table))

    plan = hoist_wanted(trace("trunk", program))
    assert [(node.verb, node.shape[0]) for node in plan.nodes] == [
        ("embed", TOKENS),
        ("exported", EXPORTED),
        ("silu", EXPORTED),
        ("sigmoid", EXPORTED),
        ("wanted", WANTED),
        ("scale", WANTED),
        ("linear", WANTED),
    ]
    assert plan.nodes[plan.outputs["hidden"]].verb == "sigmoid"
