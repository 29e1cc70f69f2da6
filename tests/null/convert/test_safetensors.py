"""Safetensors files: what is written is read, what is broken is refused in words, whatever the bytes."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.checkpoints import safetensors

from outpace.convert.checkpoint import Checkpoint
from outpace.convert.safetensors import open_safetensors
from outpace.errors import ModelFileError, OutpaceError, UnsupportedError

RNG = np.random.default_rng(0)
ARRAYS = {
    "a": RNG.standard_normal((3, 4, 5)).astype("<f4"),
    "b": RNG.standard_normal((7, 6)).astype("<f2"),
    "c": (RNG.standard_normal((4, 8)).astype("<f4").view("<u4") >> 16).astype("<u2"),
    "d": RNG.standard_normal(9),
}


def as_float32(array):
    return (array.astype("<u4") << 16).view("<f4") if array.dtype == np.uint16 else array.astype("<f4")


def test_every_row_of_every_type(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors(ARRAYS))
    file = open_safetensors(path)
    assert list(file.tensors) == list(ARRAYS)
    for name, array in ARRAYS.items():
        rows, expected = file.rows(name), as_float32(array).reshape(-1, array.shape[-1])
        assert rows.shape == array.shape
        assert np.array_equal(rows.read(0, len(expected)), expected)
        assert np.array_equal(rows.read(len(expected) // 2, len(expected)), expected[len(expected) // 2 :])
        rows.release()
        assert np.array_equal(rows.read(0, 1), expected[:1])


def with_header(header, n_data=64):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(n_data)


def one(**changes):
    return {"t": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]} | changes}


BROKEN = [
    (b"", "0 bytes are too few for a safetensors file"),
    (struct.pack("<Q", 1 << 60) + bytes(8), "the header is said to have 1152921504606846976 bytes"),
    (with_header(b"{"), "the header is not JSON that can be read"),
    (with_header(b"[]"), "the header is not a JSON object"),
    (with_header(b"[" * 100_000), "the header is not JSON that can be read"),
    (with_header(b"\xff\xfe{}"), "the header is not JSON that can be read"),
    (with_header(b'{"t": 1, "t": 2}'), "a key occurs twice"),
    (with_header({"t": 3}), "tensor 't': is not described by an object"),
    (with_header(one(dtype="F31")), "tensor 't': has the type 'F31'; expected one of F64, F32"),
    (with_header(one(shape=[4, -4])), "tensor 't': has the shape [4, -4]; expected at most 8 whole numbers"),
    (with_header(one(shape=[4, True])), "has the shape [4, True]"),
    (with_header(one(shape=[1] * 9)), "expected at most 8 whole numbers"),
    (with_header(one(shape=None)), "has the shape None"),
    (with_header(one(data_offsets=[64, 0])), "has data_offsets [64, 0]; expected where it begins and where it ends"),
    (with_header(one(data_offsets=[0])), "has data_offsets [0]"),
    (with_header(one(data_offsets=[0, 60])), "F32 of shape [4, 4] takes 64 bytes, its data_offsets span 60"),
    (with_header(one(shape=[1 << 40, 1 << 40])), "its data_offsets span 64"),
    (with_header(one(), 63), "past the end of the file"),
    (with_header(one() | {"u": one(data_offsets=[32, 96])["t"]}, 96), "tensor 'u': overlaps tensor 't'"),
]


@pytest.mark.parametrize(("raw", "sentence"), BROKEN, ids=[sentence for _, sentence in BROKEN])
def test_broken_files_are_refused(tmp_path, raw, sentence):
    path = tmp_path / "x.safetensors"
    path.write_bytes(raw)
    with pytest.raises(ModelFileError) as found:
        open_safetensors(path)
    assert sentence in str(found.value) and str(path) in str(found.value)


def test_types_and_shapes_that_hold_no_rows_of_numbers(tmp_path):
    path = tmp_path / "x.safetensors"
    odd = {"i": np.zeros((2, 2), np.int8), "f": np.zeros((2, 2), np.uint8), "e": np.zeros((0, 4), "<f4")}
    path.write_bytes(safetensors(odd | {"s": np.zeros((), "<f4")}))
    file = open_safetensors(path)
    for name in "if":
        with pytest.raises(UnsupportedError, match=f"tensor '{name}' of type .* is not supported"):
            file.rows(name)
    for name in "es":
        with pytest.raises(ModelFileError, match="has no rows"):
            file.rows(name)


WHOLE = safetensors(ARRAYS)


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_damage_never_crashes(tmp_path_factory, data):
    raw = bytearray(WHOLE[: data.draw(st.integers(0, len(WHOLE)))] if data.draw(st.booleans()) else WHOLE)
    for _ in range(data.draw(st.integers(0, 6))):
        if raw:
            raw[data.draw(st.integers(0, min(len(raw), 400) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damage") / "x.safetensors"
    path.write_bytes(raw)
    try:
        file = open_safetensors(path)
        for name in file.tensors:
            rows = file.rows(name)
            rows.read(0, int(np.prod(rows.shape[:-1])))
    except OutpaceError:
        pass


def folder(path, **files):
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text('{"model_type": "llama"}')
    for name, raw in files.items():
        (path / f"{name}.safetensors").write_bytes(raw)
    return path


def test_folders_that_are_none(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFileError, match=r"there is no config.json; a Hugging Face folder or a GGUF file is"):
        Checkpoint(tmp_path / "empty")
    with pytest.raises(ModelFileError, match=r"there are no .safetensors files; other formats are not read"):
        Checkpoint(folder(tmp_path / "bare"))
    with pytest.raises(ModelFileError, match=r"two.safetensors: tensor 'a': is in one.safetensors too"):
        Checkpoint(folder(tmp_path / "twice", one=WHOLE, two=WHOLE))


INDEXES = [
    ({}, "'weight_map': expected a JSON object of tensor and file names"),
    ({"weight_map": {"a": 3}}, "'weight_map': expected a JSON object of tensor and file names"),
    ({"weight_map": {"a": "../one.safetensors"}}, "names the file '../one.safetensors', which is not in the folder"),
    ({"weight_map": {"z": "one.safetensors"}}, "tensor 'z': the index says it is in this file; it is not"),
]


@pytest.mark.parametrize(("index", "sentence"), INDEXES)
def test_indexes_that_do_not_fit(tmp_path, index, sentence):
    path = folder(tmp_path / "m", one=WHOLE)
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelFileError) as found:
        Checkpoint(path)
    assert sentence in str(found.value)


def test_files_outside_the_index_are_left_aside_and_named(tmp_path):
    path = folder(tmp_path / "m", one=WHOLE, other=WHOLE)
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    assert Checkpoint(path).notes == ["not named by model.safetensors.index.json and not read: other.safetensors"]
