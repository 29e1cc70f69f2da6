"""A trunk and its head from two files are the file that has both; a head of another trunk is refused in words."""

import re
from pathlib import Path

import numpy as np
import pytest
from bench.random_hybrid import write_random_hybrid
from tests.support.rewritten import read, rewritten

from outpace.convert.conversion import convert
from outpace.errors import ConfigError, ModelFileError, OutpaceError, UnsupportedError
from outpace.gguf.file import open_gguf
from outpace.gguf.join import join, open_with_head
from outpace.gguf.types import GGMLType, ValueType
from outpace.gguf.writer import Typed, write_gguf, write_split
from outpace.models import load_plan

SMALL = {"d_model": 64, "head_dim": 16, "delta_dim": 16, "vocab": 300, "context": 512, "n_layers": 4}
LIST = "qwen35.attention.recurrent_layers"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """The whole model, its trunk and its head."""
    at = tmp_path_factory.mktemp("files")
    found = {"whole": write_random_hybrid(at / "whole.gguf", type="F32", **SMALL)}
    for choice in ("none", "only"):
        convert(found["whole"], at / f"{choice}.gguf", type="F32", mtp=choice)
    return found | {"trunk": at / "none.gguf", "head": at / "only.gguf"}


def told(metadata) -> dict[str, tuple[str, str]]:
    own = ("general.file_type", "general.quantization_version")
    return {key: (metadata.entry(key).type_name, str(value)) for key, value in metadata.items() if key not in own}


@pytest.mark.parametrize("is_split", [False, True])
def test_together_they_are_the_whole(files, tmp_path, is_split):
    trunk, head = files["trunk"], files["head"]
    if is_split:
        trunk = write_split(tmp_path / "trunk", *read(trunk), 3)[1]
        head = write_split(tmp_path / "head", *read(head), 2)[0]
    with open_gguf(files["whole"]) as whole, open_with_head(trunk, head) as found:
        assert found.tensors.keys() == whole.tensors.keys()
        for name, info in whole.tensors.items():
            assert (found.tensors[name].type, found.tensors[name].shape) == (info.type, info.shape)
            assert found.data(name).tobytes() == whole.data(name).tobytes()
            assert found.data(name).tobytes() in found.around(name).tobytes()
            found.release(name)
            assert found.data(name).tobytes() == whole.data(name).tobytes()
        keys = {key: value for key, value in told(found.metadata).items() if not key.startswith("split.")}
        assert keys == told(whole.metadata)
        assert found.metadata.ints("qwen35.rope.dimension_sections").tolist() == [2, 0, 0, 0]
        model, other = load_plan(found), load_plan(whole)
        assert (model.config, model.plan, model.draft) == (other.config, other.plan, other.draft)
        assert model.unused == ()
        assert repr(found.metadata).count("\n") == len(found.metadata)


def test_each_part_closes_by_itself(files):
    with open_gguf(files["trunk"]) as trunk, open_gguf(files["head"]) as head:
        name = "blk.4.nextn.eh_proj.weight"
        expected = head.data(name).tobytes()
        found = join(trunk, head)
        assert found.file_bytes == trunk.file_bytes + head.file_bytes
        found.close()
        with pytest.raises(ModelFileError, match="the file was closed"):
            found.data(name)
        assert head.data(name).tobytes() == expected
        found = join(trunk, head)
    held = found.data(name)
    with pytest.raises(ModelFileError, match="the file was closed"):
        trunk.data("token_embd.weight")
    found.close()
    assert held.tobytes() == expected


def test_without_a_head_it_is_the_file(files):
    with open_with_head(files["whole"], None) as found, open_gguf(files["whole"]) as whole:
        assert found.tensors == whole.tensors


def test_a_tensor_is_missed_in_the_file_that_should_have_it(files, tmp_path):
    named = re.escape(str(tmp_path / "changed.gguf"))
    tensor = "blk.4.nextn.eh_proj.weight"
    with open_with_head(files["trunk"], rewritten(files["head"], tmp_path, without=tensor)) as found:
        with pytest.raises(ModelFileError, match=f"^{named}: tensor '{tensor}': the file does not have it"):
            load_plan(found)
        with pytest.raises(ModelFileError, match=f"^{named}: there is no tensor '{tensor}'"):
            found.data(tensor)
    tensor = "blk.0.ffn_up.weight"
    found = open_with_head(rewritten(files["trunk"], tmp_path, without=tensor), files["head"])
    with found, pytest.raises(ModelFileError, match=f"^{named}: tensor '{tensor}': the file does not have it"):
        load_plan(found)


def table(rows: int) -> tuple[GGMLType, tuple[int, int], np.ndarray]:
    return GGMLType.F32, (rows, 64), np.zeros((rows, 64), np.float32)


def bools(*values: int) -> Typed:
    return Typed(ValueType.BOOL, [bool(each) for each in values])


OWN = {f"blk.4.nextn.{name}.weight": table(300) for name in ("embed_tokens", "shared_head_head")}
WRONG = {
    "architecture": (
        {"general.architecture": "qwen3next", "qwen3next.block_count": 5, "qwen3next.nextn_predict_layers": 1},
        {},
        ModelFileError,
        "HEAD: metadata 'general.architecture': the head is for 'qwen3next', and TRUNK is 'qwen35'",
    ),
    "no architecture": ({"general.architecture": None}, {}, ModelFileError, "HEAD: metadata 'general.architecture': "),
    "no count": ({"qwen35.block_count": None}, {}, ModelFileError, "HEAD: metadata 'qwen35.block_count': the key is"),
    "layers": (
        {"qwen35.block_count": 4},
        {},
        ModelFileError,
        "HEAD: metadata 'qwen35.block_count': the head is for a trunk of 3 layers, and TRUNK has 4",
    ),
    "all layers": (
        {"qwen35.nextn_predict_layers": 5},
        {},
        ModelFileError,
        "HEAD: metadata 'qwen35.nextn_predict_layers': is 5 with a block_count of 5",
    ),
    "two layers": (
        {"qwen35.block_count": 6, "qwen35.nextn_predict_layers": 2},
        {},
        UnsupportedError,
        "qwen35 with multi-token-prediction layers, of which HEAD has '2' is not supported (supported: 1)",
    ),
    "width": (
        {"qwen35.embedding_length": 128},
        {},
        ModelFileError,
        "HEAD: metadata 'qwen35.embedding_length': the head is for a width of 128, and TRUNK has 64",
    ),
    "vocabulary": (
        {"qwen35.vocab_size": 301},
        {},
        ModelFileError,
        "HEAD: metadata 'qwen35.vocab_size': the head is for a vocabulary of 301, and TRUNK has 300",
    ),
    "own embedding": (
        {},
        {"blk.4.nextn.embed_tokens.weight": table(302)},
        ModelFileError,
        "HEAD: tensor 'blk.4.nextn.embed_tokens.weight': has rows for 302 tokens, and the vocabulary of TRUNK is 300",
    ),
    "own projection": (
        {"qwen35.vocab_size": None},
        {"blk.4.nextn.shared_head_head.weight": table(7)},
        ModelFileError,
        "HEAD: tensor 'blk.4.nextn.shared_head_head.weight': has rows for 7 tokens, and the vocabulary of TRUNK is 300",
    ),
    "other layers": (
        {LIST: bools(1, 1, 0, 0, 0)},
        {},
        ModelFileError,
        f"HEAD: metadata '{LIST}': the head is for a trunk with other values in its layers than TRUNK has",
    ),
    "no layer's": (
        {},
        {"output.weight": table(300)},
        ModelFileError,
        "HEAD: tensor 'output.weight': a head of this trunk has tensors of blk.4 only (`outpace convert MODEL HEAD "
        "--mtp only` leaves others out)",
    ),
    "a later layer's": (
        {},
        {"blk.5.ffn_up.weight": table(2)},
        ModelFileError,
        "HEAD: tensor 'blk.5.ffn_up.weight': a head of this trunk has tensors of blk.4 only",
    ),
    "a trunk": (
        {},
        {"blk.0.ffn_up.weight": table(2)},
        UnsupportedError,
        "a whole model in place of a head 'HEAD' is not supported (supported: a head alone, as `outpace convert MODEL "
        "HEAD --mtp only` writes it)",
    ),
    "no layers": (
        {"qwen35.block_count": 4, "qwen35.nextn_predict_layers": 0},
        {},
        UnsupportedError,
        "qwen35 with multi-token-prediction layers, of which HEAD has '0' is not supported (supported: 1)",
    ),
    "no head": (
        {"qwen35.nextn_predict_layers": None},
        {},
        UnsupportedError,
        "a whole model in place of a head 'HEAD' is not supported",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_head_that_does_not_fit_is_refused(files, tmp_path, what):
    keys, tensors, kind, sentence = WRONG[what]
    head = rewritten(files["head"], tmp_path, keys, tensors)
    with pytest.raises(OutpaceError) as caught:
        open_with_head(files["trunk"], head)
    assert type(caught.value) is kind
    start, *rest = re.split(r"\bHEAD\b(?! --mtp)", sentence)
    told = str(head).join([start, *rest]).replace("TRUNK", str(files["trunk"]))
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("of", ["whole", "head"])
def test_a_head_is_made_of_what_holds_more(files, tmp_path, of):
    more = rewritten(files[of], tmp_path, tensors={"token_embd.weight": table(300), "output.weight": table(300)})
    with pytest.raises(OutpaceError, match="outpace convert MODEL HEAD --mtp only"):
        open_with_head(files["trunk"], more)
    convert(more, tmp_path / "alone.gguf", type="F32", mtp="only")
    with open_with_head(files["trunk"], tmp_path / "alone.gguf") as found, open_gguf(files["whole"]) as whole:
        assert all(found.data(name).tobytes() == whole.data(name).tobytes() for name in whole.tensors)


def test_whole_models_are_no_heads(files):
    for whole in (files["whole"], files["trunk"]):
        with pytest.raises(UnsupportedError, match="a whole model in place of a head"):
            open_with_head(files["trunk"], whole)


def test_a_trunk_with_a_head_takes_no_other(files):
    with pytest.raises(ConfigError) as caught:
        open_with_head(files["whole"], files["head"])
    assert str(caught.value) == (
        f"draft_model is '{files['head']}'; expected none, as {files['whole']} has MTP layers of its own "
        "(`outpace graft detach` takes them off)"
    )


def test_nothing_is_there_twice(files, tmp_path):
    name = "blk.4.nextn.enorm.weight"
    trunk = rewritten(files["trunk"], tmp_path, tensors={name: (GGMLType.F32, (64,), np.ones(64, np.float32))})
    with pytest.raises(ModelFileError, match=re.escape(f"{files['head']}: tensor '{name}': is in {trunk} too")):
        open_with_head(trunk, files["head"])


def test_a_head_brings_what_is_its_own_and_nothing_else(files, tmp_path):
    head = rewritten(files["head"], tmp_path, {"qwen35.rope.freq_base": 5.0, "general.name": "other"}, OWN)
    with open_with_head(files["trunk"], head) as found, open_gguf(files["trunk"]) as trunk:
        assert found.metadata["general.name"] == trunk.metadata["general.name"] != "other"
        assert found.metadata["qwen35.rope.freq_base"] == trunk.metadata["qwen35.rope.freq_base"] != 5.0
        model = load_plan(found)
    assert set(OWN) <= set(model.draft.weights())


def test_a_list_by_layer_that_only_one_file_has_is_left_to_the_trunk(files, tmp_path):
    head = rewritten(files["head"], tmp_path, {LIST: None})
    with open_with_head(files["trunk"], head) as found:
        assert found.metadata.bools(LIST).tolist() == [True, True, True, False]
        assert load_plan(found).config.n_mtp == 1
    trunk = rewritten(files["trunk"], tmp_path, {LIST: None})
    with open_with_head(trunk, files["head"]) as found:
        assert LIST not in found.metadata
        assert load_plan(found).config.is_recurrent == (True, True, True, False)


def test_a_broken_head_is_named(files, tmp_path):
    (tmp_path / "cut.gguf").write_bytes(files["head"].read_bytes()[:-4096])
    with pytest.raises(ModelFileError, match=r"cut\.gguf: tensor .*past the end of the file"):
        open_with_head(files["trunk"], tmp_path / "cut.gguf")
    write_gguf(tmp_path / "empty.gguf", {}, {})
    with pytest.raises(ModelFileError, match=r"empty\.gguf: metadata 'general.architecture': the key is missing"):
        open_with_head(files["trunk"], tmp_path / "empty.gguf")


@pytest.mark.parametrize("value", [Typed(ValueType.INT32, [1, 1]), "seven"])
def test_a_broken_key_of_a_head_is_named_with_its_own_file(value, files, tmp_path):
    key = "qwen35.nextn_draft_tokens"
    head = rewritten(files["head"], tmp_path, {key: value})
    with (
        open_with_head(files["trunk"], head) as found,
        pytest.raises(ModelFileError, match=re.escape(f"{head}: metadata '{key}'")),
    ):
        load_plan(found)
    trunk = rewritten(files["trunk"], tmp_path, {"qwen35.embedding_length": "wide"})
    with open_with_head(files["trunk"], files["head"]) as found:
        assert found.metadata.path_of(key) == files["trunk"]
    with pytest.raises(ModelFileError, match=re.escape(f"{trunk}: metadata 'qwen35.embedding_length'")):
        open_with_head(trunk, files["head"])
