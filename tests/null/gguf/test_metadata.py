"""Typed look-ups name the key, the type expected and the type found."""

import re

import numpy as np
import pytest

from outpace.errors import ModelFileError
from outpace.gguf.file import open_gguf
from outpace.gguf.types import ValueType
from outpace.gguf.writer import Typed, write_gguf

VALUES = {
    "a.str": "x" * 100,
    "a.int": Typed(ValueType.UINT64, 2**63),
    "a.float": 0.5,
    "a.bool": True,
    "some.strs": ["a", "b"],
    "some.ints": np.array([1, 2], np.int16),
    "some.floats": np.array([1, 2], np.float64),
    "some.bools": [True, False],
    "nothing": Typed(ValueType.INT32, []),
}
KINDS = ("str", "int", "float", "bool", "strs", "ints", "floats", "bools")


@pytest.fixture
def metadata(tmp_path):
    write_gguf(tmp_path / "x.gguf", VALUES, {})
    return open_gguf(tmp_path / "x.gguf").metadata


@pytest.mark.parametrize("asked", KINDS)
@pytest.mark.parametrize("key", [key for key in VALUES if key != "nothing"])
def test_every_look_up_on_every_type(metadata, asked, key):
    look_up = getattr(metadata, asked)
    if key.split(".")[1] == asked:
        assert np.array_equal(look_up(key), metadata[key])
        return
    with pytest.raises(ModelFileError, match=re.escape(f"metadata '{key}': expected ")) as caught:
        look_up(key, None)  # a default is for a missing key, not for a wrong one
    assert f"found {metadata.entry(key).type_name}" in str(caught.value)


@pytest.mark.parametrize("asked", KINDS)
def test_a_missing_key_is_named_with_its_neighbours(metadata, asked):
    with pytest.raises(ModelFileError, match=r"metadata 'some\.int': the key is missing .*near it: some\.ints"):
        getattr(metadata, asked)("some.int")
    assert getattr(metadata, asked)("some.int", None) is None
    assert getattr(metadata, asked)("some.int", 7) == 7


def test_an_empty_array_is_an_empty_array_of_any_type(metadata):
    assert metadata.strs("nothing") == ()
    assert len(metadata.ints("nothing")) == len(metadata.floats("nothing")) == len(metadata.bools("nothing")) == 0
    with pytest.raises(ModelFileError, match="expected integer, found array of 0 int32"):
        metadata.int("nothing")


def test_values_are_plain_and_arrays_cannot_be_written(metadata):
    assert (type(metadata["a.int"]), type(metadata["a.float"]), type(metadata["a.bool"])) == (int, float, bool)
    assert metadata.int("a.int") == 2**63
    assert not metadata.ints("some.ints").flags.writeable
    assert len(metadata) == len(list(metadata)) == len(VALUES)
    assert "a.str" in metadata
    assert "b.str" not in metadata
    assert "a.float: float32 0.5" in repr(metadata)
    with pytest.raises(KeyError):
        metadata["b.str"]


def test_text_that_is_not_utf8_is_named(tmp_path):
    write_gguf(tmp_path / "x.gguf", {"t": [b"good", b"b\xffd"]}, {})
    with (
        open_gguf(tmp_path / "x.gguf") as file,
        pytest.raises(ModelFileError, match=r"'t': the string b'b\\xffd' is not"),
    ):
        file.metadata.strs("t")
    write_gguf(tmp_path / "y.gguf", {"t": b"b\xffd"}, {})
    with pytest.raises(ModelFileError, match=r"metadata 't' at byte \d+ is not UTF-8"):
        open_gguf(tmp_path / "y.gguf")
