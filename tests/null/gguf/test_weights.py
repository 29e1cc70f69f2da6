"""Asking is the manifest: names, shapes, neighbours, and what nobody asked for."""

import re

import numpy as np
import pytest

from outpace.errors import ModelFileError
from outpace.gguf.file import open_gguf
from outpace.gguf.types import GGMLType
from outpace.gguf.weights import WeightRef, Weights
from outpace.gguf.writer import write_gguf


@pytest.fixture
def weights(tmp_path):
    matrix = (GGMLType.F32, (2, 4), np.zeros((2, 4), "<f4"))
    names = ("token_embd.weight", "blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.1.attn_q.weight")
    write_gguf(tmp_path / "m.gguf", {}, dict.fromkeys(names, matrix))
    return Weights(open_gguf(tmp_path / "m.gguf"))


def test_asking_gives_a_reference_and_is_remembered(weights):
    assert weights("token_embd.weight", 2, 4) == WeightRef("token_embd.weight", GGMLType.F32, (2, 4), 32)
    block = weights.scoped("blk.0.")
    assert block("attn_q.weight", 2, 4).name == "blk.0.attn_q.weight"
    assert block.scoped("attn_k.")("weight", 2, 4).name == "blk.0.attn_k.weight"
    assert block.has("attn_q.weight")
    assert not block.has("attn_v.weight")
    assert weights.has("blk.1.attn_q.weight")
    assert weights.unused() == block.unused() == ("blk.1.attn_q.weight",)


def test_another_shape_is_refused_with_both(weights):
    message = "tensor 'blk.0.attn_q.weight': expected shape [4, 2], found [2, 4]; near it: "
    with pytest.raises(ModelFileError, match=re.escape(message)):
        weights.scoped("blk.0.")("attn_q.weight", 4, 2)
    assert "blk.0.attn_q.weight" in weights.unused()


def test_a_missing_tensor_is_refused_with_its_neighbours(weights):
    message = r"tensor 'blk\.0\.attn_v\.weight': the file does not have it; expected shape \[2, 4\]; near it: .*blk\.0"
    with pytest.raises(ModelFileError, match=message):
        weights("blk.0.attn_v.weight", 2, 4)
    with pytest.raises(ModelFileError, match=r"does not have it; expected shape \[3\]$"):
        weights("zzzz", 3)


def test_asking_touches_no_tensor_bytes(weights, monkeypatch):
    monkeypatch.setattr(type(weights.file), "data", lambda *_: pytest.fail("read tensor data"))
    weights("token_embd.weight", 2, 4)
