"""The Qwen3.5 family: which layers are what, where the draft head is, and what is refused in which words."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.tiny import arrays, hybrid_sizes, metadata, shapes, write, write_tiny

from outpace.errors import ModelFileError, UnsupportedError
from outpace.gguf.file import open_gguf
from outpace.gguf.types import ValueType
from outpace.gguf.writer import Typed
from outpace.graph.cost import KVSpec, RecurrentSpec, state_spec, step_cost
from outpace.graph.passes import kv_only
from outpace.models import Model, load_plan

ARCHS = ["qwen35", "qwen35moe", "qwen3next"]


def read(path: Path) -> Model:
    with open_gguf(path) as file:
        return load_plan(file)


def written(tmp_path: Path, keys: dict[str, Any], extra: dict[str, np.ndarray] | None = None, **sizes) -> Path:
    tensors = arrays(shapes("qwen35", **sizes)) | (extra or {})
    return write(tmp_path / "model.gguf", metadata("qwen35", **sizes) | keys, tensors)


@pytest.mark.parametrize("arch", ARCHS)
def test_the_draft_layer_is_the_one_after_the_trunk(arch: str, tmp_path: Path):
    model = read(write_tiny(tmp_path / "a.gguf", arch, n_layers=4))
    assert model.config.n_layers == 4 and model.config.n_mtp == 1
    trunk, draft = state_spec(model.plan), state_spec(model.draft)
    assert [spec.layer for spec in trunk.kv] == [1, 3]
    assert [spec.layer for spec in trunk.recurrent] == [0, 2]
    assert draft.kv == (KVSpec(4, 2, 16),) and draft.recurrent == ()
    assert set(model.plan.outputs) == set(model.draft.outputs) == {"logits", "hidden"}
    assert all(name.startswith(("blk.4.", "token_embd", "output")) for name in model.draft.weights())


@pytest.mark.parametrize("arch", ARCHS)
def test_a_file_without_a_draft_head_has_no_draft_program(arch: str, tmp_path: Path):
    model = read(write_tiny(tmp_path / "a.gguf", arch, n_mtp=0))
    assert model.draft is None and model.traced_draft is None and model.unused == ()
    assert set(model.plan.outputs) == {"logits"}
    assert model.config.n_layers == 2


def test_state_by_hand(tmp_path: Path):
    spec = state_spec(read(write_tiny(tmp_path / "a.gguf", "qwen35")).plan)
    # Two key heads and four value heads of 8: 2 * 16 + 32 channels, 3 of 4 inputs kept.
    assert spec.recurrent == (RecurrentSpec(0, 64, 4, 4, 2, 8, 8),)
    assert spec.recurrent[0].state_bytes == 4 * (4 * 8 * 8 + 3 * 64)
    assert spec.recurrent[0].staged_bytes == 4 * (64 + 16 + 32 + 4 + 4)
    assert spec.slot_bytes(5) == spec.recurrent[0].state_bytes + 5 * spec.recurrent[0].staged_bytes


def test_the_published_27b_keeps_what_is_said_of_it(tmp_path: Path):
    """Of one layer: 3.1 MB of memory and 74 KB a staged row."""
    spec = RecurrentSpec(0, 10240, 4, 48, 16, 128, 128)
    assert spec.staged_bytes == 74112
    assert spec.state_bytes == 48 * 128 * 128 * 4 + 3 * 10240 * 4


def test_experts_cost_what_one_row_uses(tmp_path: Path):
    sizes = hybrid_sizes("qwen35moe")
    mixture = sizes.experts
    with open_gguf(write_tiny(tmp_path / "a.gguf", "qwen35moe")) as file:
        plan = load_plan(file).traced
        experts = [node for node in plan.nodes if node.verb == "experts"]
        per_layer = sum(file.tensors[ref.name].n_bytes for ref in experts[0].weights)
        linears = sum(node.weights[0].n_bytes for node in plan.nodes if node.verb == "linear")
        assert step_cost(plan).weight_bytes == linears + 2 * per_layer * mixture.n_used // mixture.n


def test_layers_are_attention_every_so_often_where_they_are_not_listed(tmp_path: Path):
    keys = metadata("qwen35", n_layers=8, interval=4)
    del keys["qwen35.attention.recurrent_layers"]
    model = read(write(tmp_path / "a.gguf", keys, arrays(shapes("qwen35", n_layers=8, interval=4))))
    assert model.config.is_recurrent == (True, True, True, False) * 2


def test_the_head_may_bring_an_embedding_and_a_projection_of_its_own(tmp_path: Path):
    own = {
        "blk.2.nextn.embed_tokens.weight": np.zeros((64, 32), np.float32),
        "blk.2.nextn.shared_head_head.weight": np.zeros((64, 32), np.float32),
    }
    model = read(written(tmp_path, {}, own))
    assert set(own) < set(model.draft.weights())
    assert not {"token_embd.weight", "output.weight"} & set(model.draft.weights())


def test_without_a_norm_of_its_own_the_head_has_the_trunks(tmp_path: Path):
    tensors = arrays(shapes("qwen35"))
    del tensors["blk.2.nextn.shared_head_norm.weight"]
    model = read(write(tmp_path / "a.gguf", metadata("qwen35"), tensors))
    assert "output_norm.weight" in model.draft.weights()


def test_catching_up_needs_little_of_the_head(tmp_path: Path):
    model = read(write_tiny(tmp_path / "a.gguf", "qwen35"))
    parts = {name.removeprefix("blk.2.") for name in kv_only(model.draft).weights()}
    assert parts == {
        *("token_embd.weight", "nextn.enorm.weight", "nextn.hnorm.weight", "nextn.eh_proj.weight"),
        *("attn_norm.weight", "attn_k.weight", "attn_v.weight", "attn_k_norm.weight"),
    }


def test_two_draft_layers_are_refused(tmp_path: Path):
    path = written(tmp_path, {"qwen35.nextn_predict_layers": 2})
    with pytest.raises(UnsupportedError, match=r"multi-token-prediction layers.*'2'.*0, 1"):
        read(path)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"nextn_predict_layers": -1}, "nextn_predict_layers is -1.*0 or 1"),
        ({"block_count": 1}, "nextn_predict_layers is 1.*less than block_count 1"),
        ({"ssm.time_step_rank": 3}, "time_step_rank is 3.*a multiple of group_count 2"),
        ({"ssm.inner_size": 30}, "inner_size is 30.*a multiple of time_step_rank 4"),
        ({"ssm.conv_kernel": 0}, "conv_kernel is 0.*positive"),
        ({"expert_count": 4, "expert_used_count": 5}, "expert_used_count is 5.*at most expert_count 4"),
        ({"attention.recurrent_layers": Typed(ValueType.BOOL, [True])}, "recurrent_layers is 1.*each of the 2 layers"),
        ({"attention.head_count_kv": 3}, "head_count_kv is 3.*a divisor"),
        ({"rope.dimension_count": 5}, "dimension_count is 5.*even"),
    ],
)
def test_a_number_out_of_range_is_named_with_its_file(keys: dict[str, Any], message: str, tmp_path: Path):
    path = written(tmp_path, {f"qwen35.{key}": value for key, value in keys.items()})
    with pytest.raises(ModelFileError, match=rf"model\.gguf.*{message}"):
        read(path)


def test_neither_experts_nor_a_width_is_named(tmp_path: Path):
    keys = metadata("qwen35")
    del keys["qwen35.feed_forward_length"]
    with pytest.raises(ModelFileError, match=r"expert_count is 0.*or a feed_forward_length"):
        read(write(tmp_path / "a.gguf", keys, arrays(shapes("qwen35"))))


def test_a_tensor_of_the_head_that_is_missing_is_named(tmp_path: Path):
    tensors = arrays(shapes("qwen35"))
    del tensors["blk.2.nextn.eh_proj.weight"]
    with pytest.raises(ModelFileError, match=re.escape("blk.2.nextn.eh_proj.weight") + r".*\[32, 64\]"):
        read(write(tmp_path / "a.gguf", metadata("qwen35"), tensors))
