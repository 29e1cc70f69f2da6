"""A head taken off: what stays and what goes keep every byte, and nothing is left where it cannot be done."""

import errno
import os

import numpy as np
import pytest
from tests.support import tiny

from outpace.errors import ConfigError, ModelFileError, ResourceError
from outpace.gguf.file import open_gguf
from outpace.gguf.types import BLOCK, GGMLType, ValueType
from outpace.gguf.writer import Typed, write_gguf, write_split
from outpace.graft.detach import detach
from outpace.models import load_plan


def contents(path):
    """Return what a file says: keys with their types, and tensors with type, shape and bytes."""
    with open_gguf(path) as file:
        meta = file.metadata
        keys = {key: (meta.entry(key).kind, meta.entry(key).count, np.array(meta[key]).tolist()) for key in meta}
        tensors = {name: (info.type, info.shape, bytes(file.data(name))) for name, info in file.tensors.items()}
    return keys, tensors


@pytest.fixture
def whole(tmp_path):
    return tiny.write_tiny(tmp_path / "whole.gguf", "qwen35")


def test_the_parts_hold_the_bytes_of_the_whole(whole, tmp_path):
    parts = detach(whole, tmp_path / "trunk.gguf", tmp_path / "head.gguf")
    assert parts.trunk.n_mtp == 0 and parts.head.n_mtp == 1
    keys, tensors = contents(whole)
    trunk_keys, trunk = contents(tmp_path / "trunk.gguf")
    head_keys, head = contents(tmp_path / "head.gguf")
    assert head and set(head) == {name for name in tensors if name.startswith("blk.2.")}
    assert trunk | head == tensors and not trunk.keys() & head.keys()
    assert head_keys == keys
    changed = {"qwen35.block_count", "qwen35.nextn_predict_layers"}
    changed |= {key for key, (_, count, _) in keys.items() if count == 3}
    assert {key: value for key, value in trunk_keys.items() if key not in changed} == {
        key: value for key, value in keys.items() if key not in changed
    }
    assert trunk_keys["qwen35.block_count"][2] == 2 and "qwen35.nextn_predict_layers" not in trunk_keys
    with open_gguf(tmp_path / "trunk.gguf") as file:
        assert load_plan(file).draft is None


def test_a_count_of_layers_that_cannot_be_is_no_work(tmp_path):
    keys = {"general.architecture": "x", "x.block_count": Typed(ValueType.UINT64, 2**63), "x.nextn_predict_layers": 1}
    tensors = {"output.weight": (GGMLType.F32, (1, 1), bytes(4))}
    write_gguf(tmp_path / "many.gguf", keys, tensors)
    with pytest.raises(ModelFileError, match=r"'x.block_count': is 9223372036854775808; expected at most 4096"):
        detach(tmp_path / "many.gguf", tmp_path / "trunk.gguf")
    # Tensors of no layer are of no trunk's either, and a head that is only said to be there is none.
    write_gguf(tmp_path / "none.gguf", keys | {"x.block_count": 4096}, tensors)
    with pytest.raises(ModelFileError, match="says that it has MTP layers, and no tensor is theirs"):
        detach(tmp_path / "none.gguf", tmp_path / "trunk.gguf")
    tensors["blk.4095.x.weight"] = tensors["output.weight"]
    write_gguf(tmp_path / "alone.gguf", keys | {"x.block_count": 4096}, tensors)
    with pytest.raises(ConfigError, match="this is a head alone"):
        detach(tmp_path / "alone.gguf", tmp_path / "trunk.gguf")


def test_keys_about_types_and_places_and_tensors_of_any_type_stay(tmp_path):
    block = bytes(range(BLOCK[GGMLType.IQ1_S].n_bytes))
    keys = {
        "general.architecture": "x",
        "general.alignment": 64,
        "general.file_type": 24,
        "general.quantization_version": 2,
        "x.block_count": Typed(ValueType.UINT64, 3),
        "x.nextn_predict_layers": 1,
        "tokenizer.ggml.tokens": ["a", "b"],
    }
    tensors = {f"blk.{i}.w.weight": (GGMLType.IQ1_S, (1, 256), block) for i in range(3)}
    parts = write_split(tmp_path / "a", keys, tensors, 2)
    detach(parts[1], tmp_path / "trunk.gguf", tmp_path / "head.gguf")
    found, left = contents(tmp_path / "trunk.gguf")
    assert found["general.alignment"][2] == 64 and found["general.file_type"][2] == 24
    assert found["x.block_count"] == (ValueType.UINT64, None, 2)
    assert not any(key.startswith("split.") for key in found)
    assert list(left.values()) == [(GGMLType.IQ1_S, (1, 256), block)] * 2
    said, _ = contents(tmp_path / "head.gguf")
    assert said["x.vocab_size"][2] == 2 and "tokenizer.ggml.tokens" not in said


def test_what_has_nothing_to_take_off(whole, tmp_path):
    detach(whole, tmp_path / "trunk.gguf", tmp_path / "head.gguf")
    for name, sentence in (
        ("trunk", "a model with MTP layers or Medusa heads; this one has none"),
        ("head", "this is a head alone"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            detach(tmp_path / f"{name}.gguf", tmp_path / "x.gguf")
    with pytest.raises(ConfigError, match=r"--head is .* expected another file than OUT"):
        detach(whole, tmp_path / "x.gguf", tmp_path / "x.gguf")
    before = whole.read_bytes()
    with pytest.raises(ConfigError, match=r"--head is .* expected another file than FILE"):
        detach(whole, tmp_path / "x.gguf", whole, is_forced=True)
    assert whole.read_bytes() == before
    with pytest.raises(ConfigError, match="a name that is not taken"):
        detach(whole, tmp_path / "x.gguf", tmp_path / "head.gguf")
    assert not (tmp_path / "x.gguf").exists()


def test_a_file_may_be_replaced_by_its_own_trunk(whole, tmp_path):
    _, tensors = contents(whole)
    detach(whole, whole, tmp_path / "head.gguf", is_forced=True)
    assert contents(whole)[1] | contents(tmp_path / "head.gguf")[1] == tensors


@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, ResourceError), (errno.EIO, ModelFileError)])
def test_a_disk_that_fails_leaves_nothing(whole, tmp_path, monkeypatch, code, error):
    def fail(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(error, match=r"head\.gguf"):
        detach(whole, tmp_path / "trunk.gguf", tmp_path / "head.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["whole.gguf"]


def test_a_kept_type_is_not_rounded(tmp_path):
    """Bytes that no rounding would give: a scale of a block that is not the largest value's."""
    keys = tiny.metadata("qwen35", d_model=64)
    tensors = {}
    for name, shape in tiny.shapes("qwen35", d_model=64).items():
        raw = np.random.default_rng(3).integers(0, 100, np.prod(shape) * 4, np.uint8)
        tensors[name] = (GGMLType.F32, shape, raw)
    write_gguf(tmp_path / "a.gguf", keys, tensors)
    detach(tmp_path / "a.gguf", tmp_path / "b.gguf")
    with open_gguf(tmp_path / "b.gguf") as file:
        assert all(bytes(file.data(name)) == tensors[name][2].tobytes() for name in file.tensors)
