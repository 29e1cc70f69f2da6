"""With the MTP layers, without them, and alone: the parts are the whole, from a folder and from a file alike."""

import pytest
from tests.support.checkpoints import write_hybrid

from outpace.convert.conversion import convert
from outpace.errors import ConfigError
from outpace.gguf.file import open_gguf


@pytest.fixture(scope="module", params=["folder", "file"])
def parts(request, tmp_path_factory):
    """The opened files of each choice."""
    at = tmp_path_factory.mktemp("mtp")
    source = write_hybrid(at / "model")
    if request.param == "file":
        convert(source, at / "whole.gguf", type="F32")
        source = at / "whole.gguf"
    files = {}
    for choice in ("keep", "only", "none"):
        written = convert(source, at / f"{choice}.gguf", type="F16", mtp=choice)
        assert written.n_mtp == (choice != "none")
        files[choice] = open_gguf(at / f"{choice}.gguf")
    return files


def test_the_parts_together_are_the_whole(parts):
    keep, only, none = (parts[choice] for choice in ("keep", "only", "none"))
    assert keep.tensors.keys() == only.tensors.keys() | none.tensors.keys()
    assert not only.tensors.keys() & none.tensors.keys()
    assert {name.split(".")[1] for name in only.tensors} == {"4"}
    for part in (only, none):
        for name, info in part.tensors.items():
            assert info.type == keep.tensors[name].type and info.shape == keep.tensors[name].shape
            assert part.data(name).tobytes() == keep.data(name).tobytes()


def test_keys_without_the_layer_are_those_of_the_trunk(parts):
    keep, none = parts["keep"].metadata, parts["none"].metadata
    assert none["qwen35.block_count"] == 4 and "qwen35.nextn_predict_layers" not in none
    assert none["qwen35.attention.recurrent_layers"].tolist() == [True, True, True, False]
    changed = {"qwen35.block_count", "qwen35.nextn_predict_layers", "qwen35.attention.recurrent_layers"}
    assert {key: str(value) for key, value in keep.items() if key not in changed} == {
        key: str(value) for key, value in none.items() if key not in changed
    }


def test_a_head_file_says_what_trunk_it_fits(parts):
    keep, only = parts["keep"].metadata, parts["only"].metadata
    assert {key: str(value) for key, value in only.items()} == {
        key: str(value) for key, value in keep.items() if not key.startswith("tokenizer.")
    }
    assert only["qwen35.block_count"] == 5 and only["qwen35.nextn_predict_layers"] == 1
    assert only["qwen35.vocab_size"] == 80


def test_choices_that_are_none(tmp_path):
    folder = write_hybrid(tmp_path / "m", n_mtp=0)
    with pytest.raises(ConfigError, match="--mtp is 'only'; expected keep or none, as this model has no MTP layers"):
        convert(folder, tmp_path / "m.gguf", mtp="only")
    with pytest.raises(ConfigError, match="--mtp is 'non'; expected one of keep, only, none; did you mean 'none'"):
        convert(folder, tmp_path / "m.gguf", mtp="non")
    assert not (tmp_path / "m.gguf").exists()
