"""Reading models from headers: what is refused, in which words, and that no tensor bytes are touched."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.tiny import arrays, metadata, shapes, write, write_tiny

from outpace.errors import ModelFileError, UnsupportedError
from outpace.gguf.file import GGUFFile, open_gguf
from outpace.models import DEFINITIONS, find, load_plan


def plan_of(tmp_path: Path, keys: dict[str, Any], tensors: dict[str, np.ndarray] | None = None, arch: str = "llama"):
    path = write(tmp_path / "model.gguf", keys, arrays(shapes(arch)) if tensors is None else tensors)
    with open_gguf(path) as file:
        return load_plan(file)


@pytest.mark.parametrize("arch", sorted(DEFINITIONS))
@pytest.mark.parametrize("tied", [True, False])
def test_every_tensor_is_used_and_none_is_read(arch: str, tied: bool, tmp_path: Path, monkeypatch):
    with open_gguf(write_tiny(tmp_path / "tiny.gguf", arch, tied=tied)) as file:
        monkeypatch.setattr(GGUFFile, "data", lambda *_: pytest.fail("tensor bytes were touched"))
        model = load_plan(file)
        drafts = set(model.draft.weights()) if model.draft else set()
        assert set(model.plan.weights()) | drafts == set(file.tensors)
    assert model.unused == ()
    assert (model.config.n_layers, model.config.d_model) == (2, 32)
    assert (model.config.n_vocab, model.config.n_ctx_train) == (64, 512)


def test_find_lists_what_there_is():
    assert find("llama").arch == "llama"
    with pytest.raises(UnsupportedError, match=r"architecture 'lama'.*did you mean 'llama'.*llama, qwen3"):
        find("lama")


def test_a_tensor_nobody_reads_is_reported(tmp_path: Path):
    tensors = arrays(shapes() | {"blk.0.extra.weight": (4,)})
    assert plan_of(tmp_path, metadata(), tensors).unused == ("blk.0.extra.weight",)


@pytest.mark.parametrize("name", ["blk.0.ffn_up.bias", "blk.1.attn_norm.bias", "output.bias"])
def test_a_bias_that_would_be_left_out_is_refused(name: str, tmp_path: Path):
    with pytest.raises(UnsupportedError, match=re.escape(name)):
        plan_of(tmp_path, metadata(), arrays(shapes() | {name: (48,)}))


def test_llama_reads_the_biases_of_attention(tmp_path: Path):
    biases = {"blk.0.attn_q.bias": (64,), "blk.1.attn_k.bias": (32,), "blk.1.attn_output.bias": (32,)}
    model = plan_of(tmp_path, metadata(), arrays(shapes() | biases))
    assert set(biases) < set(model.plan.weights())


def test_a_missing_tensor_is_named(tmp_path: Path):
    tensors = arrays(shapes())
    del tensors["blk.1.ffn_down.weight"]
    with pytest.raises(ModelFileError, match=r"blk\.1\.ffn_down\.weight"):
        plan_of(tmp_path, metadata(), tensors)


def test_a_vocabulary_that_differs_from_the_tokenizer_is_named(tmp_path: Path):
    with pytest.raises(ModelFileError, match=r"token_embd\.weight.*\[3, 32\].*\[64, 32\]"):
        plan_of(tmp_path, metadata() | {"tokenizer.ggml.tokens": ["a", "b", "c"]})


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"llama.expert_count": 8}, "llama with '8 experts'"),
        ({"llama.rope.scaling.type": "yarn"}, r"rope scaling 'yarn'.*none, linear"),
        ({"llama.attention.sliding_window": 256}, "window of 256 in a context of 512"),
        ({"llama.attention.value_length": 8}, "value head width '8'"),
        ({"general.architecture": "mamba"}, "architecture 'mamba'"),
    ],
)
def test_a_variant_is_refused_in_words(keys: dict[str, Any], message: str, tmp_path: Path):
    with pytest.raises(UnsupportedError, match=message):
        plan_of(tmp_path, metadata() | keys)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("llama.attention.head_count", 0, "a positive"),
        ("llama.attention.head_count", 2**33, "a positive"),
        ("llama.attention.head_count_kv", 3, "a divisor of head_count 4"),
        ("llama.embedding_length", 0, "a positive"),
        ("llama.block_count", -1, "a number from 1 to 4096"),
        ("llama.block_count", 5000, "a number from 1 to 4096"),
        ("llama.rope.dimension_count", 7, "an even number"),
        ("llama.rope.dimension_count", 32, "up to head width 16"),
        ("llama.rope.freq_base", 0.0, "a positive number"),
        ("llama.attention.layer_norm_rms_epsilon", float("nan"), "a positive number"),
    ],
)
def test_a_number_out_of_range_is_named_with_its_file(key: str, value: Any, expected: str, tmp_path: Path):
    with pytest.raises(ModelFileError, match=rf"model\.gguf.*{re.escape(key)} is .*{expected}"):
        plan_of(tmp_path, metadata() | {key: value})


def test_without_a_key_length_heads_divide_the_width(tmp_path: Path):
    keys = metadata()
    del keys["llama.attention.key_length"]
    with pytest.raises(ModelFileError, match="divisor of the width 32"):
        plan_of(tmp_path, keys | {"llama.attention.head_count": 5, "llama.attention.head_count_kv": 5})


def test_a_window_as_long_as_the_context_changes_nothing(tmp_path: Path):
    assert plan_of(tmp_path, metadata() | {"llama.attention.sliding_window": 512}).config.n_ctx_train == 512


@pytest.mark.parametrize(
    "keys",
    [
        {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0},
        {"llama.rope.scale_linear": 4.0},
    ],
)
def test_linear_rope_scaling_is_read(keys: dict[str, Any], tmp_path: Path):
    model = plan_of(tmp_path, metadata() | keys)
    assert {node.attrs["rope"].scale for node in model.plan.nodes if node.verb == "rope"} == {4.0}
