"""GGUF to GGUF: the same file as from the folder, nothing lost, nothing rounded twice that need not be."""

import numpy as np
import pytest
from tests.support.checkpoints import write_hybrid

from outpace.convert.conversion import convert
from outpace.convert.mix import MIXES
from outpace.errors import ModelFileError, UnsupportedError
from outpace.gguf.file import open_gguf
from outpace.gguf.types import BLOCK, GGMLType, ValueType
from outpace.gguf.writer import Typed, write_gguf, write_split


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with rows of 256, so that every type has its place."""
    at = tmp_path_factory.mktemp("model") / "m"
    return write_hybrid(at, hidden_size=256, intermediate_size=512)


@pytest.mark.parametrize("mix", MIXES)
def test_by_way_of_a_file_is_the_same_as_at_once(folder, tmp_path, mix):
    convert(folder, tmp_path / "f32.gguf", type="F32")
    at_once = convert(folder, tmp_path / "at_once.gguf", type=mix, n_threads=2)
    by_way = convert(tmp_path / "f32.gguf", tmp_path / "by_way.gguf", type=mix)
    assert (tmp_path / "at_once.gguf").read_bytes() == (tmp_path / "by_way.gguf").read_bytes()
    assert at_once.types == by_way.types and by_way.n_mtp == 1
    with open_gguf(tmp_path / "at_once.gguf") as file:
        assert file.metadata["general.file_type"] == MIXES[mix].file_type
        assert file.tensors["blk.1.ffn_up.weight"].type is MIXES[mix].main
        sizes = dict.fromkeys(at_once.types, 0)
        for info in file.tensors.values():
            sizes[info.type.name] += info.n_bytes
        assert sizes == at_once.types and at_once.n_bytes == file.file_bytes


def test_what_has_its_type_already_is_copied(folder, tmp_path):
    convert(folder, tmp_path / "once.gguf", type="Q4_K_M")
    written = convert(tmp_path / "once.gguf", tmp_path / "twice.gguf", type="Q4_K_M")
    assert (tmp_path / "once.gguf").read_bytes() == (tmp_path / "twice.gguf").read_bytes()
    assert "rounding twice loses more" in written.notes[0]


def test_keys_of_every_type_stay_as_they_are(tmp_path):
    keys = {
        "general.architecture": "x",
        "x.block_count": 3,
        "x.nextn_predict_layers": Typed(ValueType.UINT64, 1),
        "x.u8": Typed(ValueType.UINT8, 200),
        "x.i8": Typed(ValueType.INT8, -3),
        "x.u16": Typed(ValueType.UINT16, 60000),
        "x.i16": Typed(ValueType.INT16, -3),
        "x.i64": Typed(ValueType.INT64, -1 << 40),
        "x.f32": 0.1,
        "x.f64": Typed(ValueType.FLOAT64, 0.1),
        "x.yes": True,
        "x.text": "naïve \n",
        "x.texts": ["a", "", "é"],
        "x.none": Typed(ValueType.STRING, []),
        "x.numbers": Typed(ValueType.INT16, [1, -2]),
        "x.floats": Typed(ValueType.FLOAT64, [0.1, 2]),
        "x.flags": [True, False, True],
        "split.no": Typed(ValueType.UINT16, 0),
    }
    tensor = (GGMLType.F32, (4, 32), np.ones((4, 32), "<f4"))
    write_gguf(tmp_path / "a.gguf", keys, {"blk.0.w.weight": tensor, "blk.2.w.weight": tensor})
    convert(tmp_path / "a.gguf", tmp_path / "b.gguf", type="F32")
    with open_gguf(tmp_path / "a.gguf") as before, open_gguf(tmp_path / "b.gguf") as after:
        for key in keys:
            if key == "split.no":
                assert key not in after.metadata
                continue
            found, expected = after.metadata.entry(key), before.metadata.entry(key)
            assert (found.kind, found.count) == (expected.kind, expected.count), key
            assert np.array_equal(after.metadata[key], before.metadata[key]), key
    convert(tmp_path / "a.gguf", tmp_path / "trunk.gguf", type="F32", mtp="none")
    with open_gguf(tmp_path / "trunk.gguf") as file:
        assert list(file.tensors) == ["blk.0.w.weight"]
        assert file.metadata["x.flags"].tolist() == [True, False] and file.metadata["x.texts"] == ("a", "")
        assert file.metadata["x.block_count"] == 2


def test_a_split_file_becomes_one(folder, tmp_path):
    convert(folder, tmp_path / "one.gguf", type="F16")
    with open_gguf(tmp_path / "one.gguf") as file:
        tensors = {name: (info.type, info.shape, file.data(name)) for name, info in file.tensors.items()}
        keys = {key: Typed(file.metadata.entry(key).kind, value) for key, value in file.metadata.items()}
        parts = write_split(tmp_path / "split", keys | {"general.alignment": 32}, tensors, 3)
    convert(parts[1], tmp_path / "joined.gguf", type="F16")
    assert (tmp_path / "joined.gguf").read_bytes() == (tmp_path / "one.gguf").read_bytes()


def test_files_that_cannot_be_read(tmp_path):
    def write(**keys):
        block = BLOCK[GGMLType.IQ1_S]
        tensor = (GGMLType.IQ1_S, (1, 256), bytes(block.n_bytes))
        write_gguf(tmp_path / "a.gguf", {"general.architecture": "x", **keys}, {"blk.0.w.weight": tensor})
        return tmp_path / "a.gguf"

    with pytest.raises(ModelFileError, match=r"x\.block_count.*the key is missing"):
        convert(write(), tmp_path / "b.gguf")
    with pytest.raises(ModelFileError, match=r"'x.nextn_predict_layers': is 2 with a block_count of 2"):
        convert(write(**{"x.block_count": 2, "x.nextn_predict_layers": 2}), tmp_path / "b.gguf")
    with pytest.raises(UnsupportedError, match=r"reading tensor 'blk.0.w.weight' of type 'IQ1_S' is not supported"):
        convert(write(**{"x.block_count": 2}), tmp_path / "b.gguf")


def test_values_that_no_type_holds(tmp_path):
    for value, mix, sentence in (
        (np.nan, "Q8_0", "not finite"),
        (np.inf, "F32", "not finite"),
        (1e6, "F16", "BF16 and"),
    ):
        x = np.ones((64, 64), "<f2" if mix == "F32" else "<f4")
        x[17, 3] = value
        kind = GGMLType.F16 if mix == "F32" else GGMLType.F32
        keys = {"general.architecture": "x", "x.block_count": 1}
        write_gguf(tmp_path / "a.gguf", keys, {"blk.0.w.weight": (kind, x.shape, x)})
        with pytest.raises(ModelFileError, match=f"tensor 'blk.0.w.weight'.*{sentence}"):
            convert(tmp_path / "a.gguf", tmp_path / "b.gguf", type=mix)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gguf"]
