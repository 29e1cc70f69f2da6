"""parse(write(x)) == x, by our reader and by gguf-py."""

import math
import sys
from contextlib import contextmanager

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from outpace.gguf.file import open_gguf
from outpace.gguf.types import BLOCK, NUMPY_TYPE, GGMLType, ValueType
from outpace.gguf.writer import Typed, tensor_bytes, write_gguf, write_split

printable = st.characters(categories=("L", "N", "P", "S"))
names = st.text(printable, min_size=1, max_size=20)
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=300)


def scalars(kind):
    if kind is ValueType.STRING:
        return texts
    if kind is ValueType.BOOL:
        return st.booleans()
    if kind is ValueType.FLOAT32:
        return st.floats(width=32, allow_nan=False)
    if kind is ValueType.FLOAT64:
        return st.floats(allow_nan=False)
    bounds = np.iinfo(NUMPY_TYPE[kind])
    return st.integers(int(bounds.min), int(bounds.max))


kinds = st.sampled_from([kind for kind in ValueType if kind is not ValueType.ARRAY])
typed = kinds.flatmap(
    lambda kind: st.one_of(scalars(kind), st.lists(scalars(kind), max_size=80)).map(lambda value: Typed(kind, value))
)


@st.composite
def tensors(draw):
    found = {}
    for name in draw(st.lists(names, max_size=5, unique=True)):
        kind = draw(st.sampled_from(sorted(GGMLType)))
        outer = draw(st.lists(st.integers(1, 3), max_size=3))
        shape = (*outer, draw(st.integers(1, 2)) * BLOCK[kind].size)
        found[name] = (kind, shape, draw(st.randoms(use_true_random=False)).randbytes(tensor_bytes(kind, shape)))
    return found


def plain(value):
    return value.tolist() if isinstance(value, np.ndarray) else list(value) if isinstance(value, tuple) else value


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(metadata=st.dictionaries(names, typed, max_size=8), table=tensors(), version=st.sampled_from((2, 3)))
def test_what_was_written_is_read(tmp_path, metadata, table, version):
    metadata.pop("general.alignment", None)
    write_gguf(tmp_path / "x.gguf", metadata, table, version=version)
    with open_gguf(tmp_path / "x.gguf") as file:
        assert file.version == version
        assert {key: plain(file.metadata[key]) for key in file.metadata} == {
            key: v.value for key, v in metadata.items()
        }
        assert {k: (t.type, t.shape, bytes(file.data(k))) for k, t in file.tensors.items()} == table
        assert list(file.tensors) == list(table)


@pytest.mark.parametrize("n_parts", [1, 2, 3, 5])
def test_split_files_open_as_one_from_any_part(tmp_path, n_parts):
    table = {f"t{i}": (GGMLType.Q8_0, (i + 1, 32), bytes([i]) * 34 * (i + 1)) for i in range(7)}
    paths = write_split(tmp_path / "m", {"general.architecture": "llama", "general.alignment": 64}, table, n_parts)
    assert len(paths) == n_parts
    for path in paths:
        with open_gguf(path) as file:
            assert file.metadata.str("general.architecture", "-") in ("llama", "-")
            assert {name: bytes(file.data(name)) for name in file.tensors} == {k: v[2] for k, v in table.items()}
            assert file.file_bytes == sum(each.stat().st_size for each in paths)
    assert open_gguf(paths[-1]).metadata.str("general.architecture") == "llama"


def test_gguf_py_reads_what_we_write(tmp_path):
    x = np.arange(64, dtype=np.float32).reshape(2, 32)
    metadata = {
        "general.architecture": "llama",
        "an.int": -3,
        "a.long": 2**40,
        "a.float": 0.5,
        "a.bool": True,
        "some.texts": ["a", "größe"],
        "some.floats": [0.5, 2],
    }
    write_gguf(
        tmp_path / "x.gguf", metadata, {"x": (GGMLType.F32, (2, 32), x), "s": (GGMLType.F32, (3,), np.ones(3, "<f4"))}
    )
    reader = gguf.GGUFReader(tmp_path / "x.gguf")
    for key, value in metadata.items():
        assert reader.get_field(key).contents() == value
    assert [t.name for t in reader.tensors] == ["x", "s"]
    assert np.array_equal(reader.tensors[0].data, x)


def test_we_read_what_gguf_py_writes(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "qwen3")
    writer.add_uint32("n", 5)
    writer.add_float32("f", math.pi)
    writer.add_array("texts", ["x", "", "yz"])
    writer.add_array("ints", [1, -2, 3])
    writer.add_array("bools", [True, False])
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    writer.add_tensor("x", x)
    writer.add_tensor("y", x.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with open_gguf(tmp_path / "x.gguf") as file:
        m = file.metadata
        assert (m.str("general.architecture"), m.int("n"), m.float("f")) == ("qwen3", 5, np.float32(math.pi))
        assert m.strs("texts") == ("x", "", "yz")
        assert (m.ints("ints").tolist(), m.bools("bools").tolist()) == ([1, -2, 3], [True, False])
        assert file.tensors["x"].shape == (2, 3, 4)
        assert np.array_equal(file.data("x").view(np.float32).reshape(2, 3, 4), x)
        assert np.array_equal(file.data("y").view(np.float16).reshape(2, 3, 4), x)


def test_pieces_are_streamed_and_a_failed_write_leaves_nothing(tmp_path):
    pieces = (bytes([i]) * 34 for i in range(4))
    write_gguf(tmp_path / "x.gguf", {}, {"x": (GGMLType.Q8_0, (4, 32), pieces)})
    with open_gguf(tmp_path / "x.gguf") as file:
        assert bytes(file.data("x")) == b"".join(bytes([i]) * 34 for i in range(4))
    for wrong in (b"\0" * 33, iter([b"\0" * 34, b"\0"])):
        with pytest.raises(ValueError, match="tensor 'x' needs 34 bytes"):
            write_gguf(tmp_path / "y.gguf", {}, {"x": (GGMLType.Q8_0, (32,), wrong)})
    assert [path.name for path in tmp_path.iterdir()] == ["x.gguf"]


@contextmanager
def interrupted(after):
    """Interrupt at the instruction of that number, of the code that is called and all that it calls."""
    left = after

    def count(frame, event, _argument):
        nonlocal left
        frame.f_trace_opcodes = True
        if event in ("line", "opcode"):
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        yield
    finally:
        sys.settrace(before)


# A file that is opened when the interrupt comes is closed by whoever collects it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_whenever_a_write_is_interrupted_the_file_is_whole_or_nothing_is_there(tmp_path):
    tensors = {"x": (GGMLType.F32, (4,), np.arange(4, dtype="<f4"))}
    write_gguf(tmp_path / "whole.gguf", {}, tensors)
    whole = (tmp_path / "whole.gguf").read_bytes()
    out, ends = tmp_path / "out", []
    out.mkdir()
    while not ends or ends[-1] != "not interrupted":
        try:
            with interrupted(after=1 + len(ends)):
                write_gguf(out / "x.gguf", {}, tensors, is_durable=True)
            ends.append("not interrupted")
        except KeyboardInterrupt:
            ends.append("interrupted")
        found = {path.name: path.read_bytes() for path in out.iterdir()}
        assert found in ({}, {"x.gguf": whole}), len(ends)
        (out / "x.gguf").unlink(missing_ok=True)
    assert len(ends) > 100


@pytest.mark.parametrize("value", [{}, None, [1, "a"], np.zeros((2, 2)), [[1]], 2**64, np.array(["a"])])
def test_values_without_a_type_are_refused(tmp_path, value):
    with pytest.raises(ValueError, match=r"no GGUF value type|arrays of arrays"):
        write_gguf(tmp_path / "x.gguf", {"k": value}, {})


def test_data_is_a_read_only_view_that_outlives_release_and_close(tmp_path):
    write_gguf(tmp_path / "x.gguf", {}, {"x": (GGMLType.F32, (4096,), np.arange(4096, dtype="<f4"))})
    file = open_gguf(tmp_path / "x.gguf")
    data = file.data("x")
    assert not data.flags.writeable
    assert not data.flags.owndata
    file.release("x")
    assert np.array_equal(data.view("<f4"), np.arange(4096))
    assert "x.gguf" in repr(file)
    file.close()
    assert data[-1] == np.float32(4095).view("<u4") >> 24
