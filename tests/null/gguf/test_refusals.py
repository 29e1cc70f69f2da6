"""Every way a file can be broken gives one sentence that says where, and no large allocation."""

import os
import re
import struct
import time
import tracemalloc

import numpy as np
import pytest

from outpace.errors import ModelFileError
from outpace.gguf.file import MAX_TENSORS, open_gguf
from outpace.gguf.metadata import MAX_KEYS
from outpace.gguf.types import GGMLType, ValueType
from outpace.gguf.writer import Typed, write_gguf, write_split

U32, U64 = struct.Struct("<I").pack, struct.Struct("<Q").pack


def text(s):
    s = s.encode() if isinstance(s, str) else s
    return U64(len(s)) + s


def header(n_tensors=0, n_keys=0, version=3):
    return b"GGUF" + U32(version) + U64(n_tensors) + U64(n_keys)


def key(name, kind, value):
    return text(name) + U32(kind) + value


def array(kind, count, items=b""):
    return U32(kind) + U64(count) + items


def tensor(name, dims, kind, offset):
    return text(name) + U32(len(dims)) + b"".join(map(U64, dims)) + U32(kind) + U64(offset)


def with_data(table, n_bytes=0, keys=b"", n_keys=0):
    head = header(len(table), n_keys) + keys + b"".join(table)
    return head + bytes(-len(head) % 32) + bytes(n_bytes)


STRING, ARRAY, BOOL = ValueType.STRING, ValueType.ARRAY, ValueType.BOOL
BROKEN = {
    "empty": (b"", "0 bytes are too few for a GGUF file"),
    "short": (header()[:23], "23 bytes are too few"),
    "not gguf": (b"PK\x03\x04" + bytes(40), "not a GGUF file (it begins b'PK"),
    "ggml": (b"lmgg" + bytes(40), "this is a GGML file, the format before GGUF"),
    "ggjt": (b"tjgg" + bytes(40), "this is a GGJT file"),
    "version 1": (header(version=1), "GGUF version 1 is not supported (supported: 2, 3)"),
    "version 4": (header(version=4), "GGUF version 4 is not supported"),
    "big-endian": (b"GGUF\0\0\0\3" + bytes(20), "this GGUF file is big-endian"),
    "huge tensor count": (
        header(2**63),
        "the tensor count is 9223372036854775808, but the rest of the file has room for 0",
    ),
    "huge key count": (header(0, 2**64 - 1), "the metadata count is 18446744073709551615, but"),
    "many keys": (header(0, MAX_KEYS + 1) + bytes(13 * (MAX_KEYS + 1)), f"{MAX_KEYS + 1}; the limit is {MAX_KEYS}"),
    "many tensors": (header(MAX_TENSORS + 1) + bytes(25 * (MAX_TENSORS + 1)), f"the limit is {MAX_TENSORS}"),
    "key past the end": (header(0, 1) + U64(50) + bytes(12), "the file ends inside metadata key 0: 50 B are needed at"),
    "huge key": (header(0, 1) + U64(2**64 - 1) + bytes(50), "metadata key 0 is 18446744073709551615 bytes long"),
    "key not utf-8": (header(0, 1) + key(b"\xff\xfe", 4, U32(1)), "metadata key 0 at byte 32 is not UTF-8"),
    "key of many lines": (header(0, 1) + key("a\nb", 4, U32(1)), "holds characters that cannot be printed: 'a\\nb'"),
    "key twice": (header(0, 2) + key("a", 4, U32(1)) * 2, "metadata 'a': the key occurs twice"),
    "no value": (header(0, 1) + text("abcdef"), "the file ends inside the type of metadata 'abcdef'"),
    "value type": (header(0, 1) + key("a", 13, U32(1)), "metadata 'a': value type 13 is unknown (0 to 12 are"),
    "half a value": (header(0, 1) + key("ab", 10, U32(1)), "the file ends inside metadata 'ab': 8 B are needed"),
    "bool of 2": (header(0, 1) + key("a", BOOL, b"\2"), "metadata 'a': a bool holds the byte 2; 0 or 1 expected"),
    "bools of 2": (header(0, 1) + key("a", ARRAY, array(BOOL, 2, b"\1\2")), "metadata 'a': a bool holds the byte 2"),
    "string past the end": (header(0, 1) + key("a", STRING, U64(2**63) + b"abc"), "the file ends inside metadata 'a'"),
    "string not utf-8": (header(0, 1) + key("a", STRING, text(b"\xc3(")), "metadata 'a' at byte 45 is not UTF-8"),
    "long string not utf-8": (
        header(0, 1) + key("a", STRING, text(b"a" * 65535 + "ü".encode() * 40000 + b"\xc3")),
        "metadata 'a' at byte 45 is not UTF-8",
    ),
    "array of arrays": (
        header(0, 1) + key("a", ARRAY, array(ARRAY, 1, array(4, 1, U32(1)))),
        "metadata 'a': is an array of arrays",
    ),
    "array type": (header(0, 1) + key("a", ARRAY, array(77, 1)), "metadata 'a': value type 77 is unknown"),
    "huge array": (
        header(0, 1) + key("a", ARRAY, array(10, 2**61)),
        "the length of metadata 'a' is 2305843009213693952",
    ),
    "array one too long": (
        header(0, 1) + key("a", ARRAY, array(10, 2, bytes(15))),
        "the length of metadata 'a' is 2, but the rest of the file has room for 1 at most",
    ),
    "huge string array": (
        header(0, 1) + key("a", ARRAY, array(STRING, 2**60, text("x"))),
        "the length of metadata 'a' is 1152921504606846976, but the rest of the file has room for 1 at most",
    ),
    "string array past the end": (
        header(0, 1) + key("a", ARRAY, array(STRING, 2, text("x") + U64(2**64 - 16))),
        "the file ends inside metadata 'a'",
    ),
    "alignment 0": (with_data([], 0, key("general.alignment", 4, U32(0)), 1), "is 0; a power of two expected"),
    "alignment 24": (with_data([], 0, key("general.alignment", 4, U32(24)), 1), "is 24; a power of two expected"),
    "alignment text": (
        with_data([], 0, key("general.alignment", STRING, text("32")), 1),
        "metadata 'general.alignment': expected integer, found string '32'",
    ),
    "tensor name not utf-8": (
        with_data([tensor(b"\xff", [1], 0, 0)], 4),
        "the name of tensor 0 at byte 32 is not UTF-8",
    ),
    "tensor name long": (with_data([tensor("n" * 300, [1], 0, 0)], 4), "the name of tensor 0 is 300 bytes long"),
    "five dimensions": (with_data([tensor("t", [1] * 5, 0, 0)], 4), "tensor 't': has 5 dimensions; the limit is 4"),
    "huge dimensions": (
        header(1) + text("t") + U32(2**32 - 1) + bytes(64),
        "tensor 't': has 4294967295 dimensions",
    ),
    "empty dimension": (
        with_data([tensor("t", [4, 0], 0, 0)], 4),
        "tensor 't': has an empty dimension in its shape (0, 4)",
    ),
    "product overflows": (
        with_data([tensor("t", [2**33, 2**33, 2**33], 0, 0)], 4),
        "tensor 't': needs ",
    ),
    "product wraps to 0": (with_data([tensor("t", [2**32, 2**32], 0, 0)], 64), "past the end of the file"),
    "unknown type": (with_data([tensor("t", [4], 99, 0)], 16), "tensor 't': has the unknown type 99"),
    "removed type": (with_data([tensor("t", [32], 31, 0)], 18), "tensor 't': has type 31, which ggml has removed"),
    "half a block": (
        with_data([tensor("t", [33], 2, 0)], 64),
        "tensor 't': has rows of 33, not a whole number of Q4_0",
    ),
    "offset not aligned": (with_data([tensor("t", [4], 0, 8)], 64), "has offset 8, not a multiple of the alignment 32"),
    "offset past the end": (with_data([tensor("t", [4], 0, 2**63)], 64), "past the end of the file"),
    "offset wraps": (with_data([tensor("t", [4], 0, 2**64 - 32)], 64), "past the end of the file"),
    "data cut short": (with_data([tensor("t", [16], 0, 0)], 63), "tensor 't': needs 64 B at byte 64, past the end of"),
    "tensor twice": (
        with_data([tensor("t", [8], 0, 0), tensor("t", [8], 0, 32)], 64),
        "tensor 't': is in the file twice",
    ),
    "overlap": (
        with_data([tensor("a", [16], 0, 0), tensor("b", [8], 0, 32)], 64),
        "tensor 'b': overlaps tensor 'a'",
    ),
    "same place": (with_data([tensor("a", [8], 0, 0), tensor("b", [8], 0, 0)], 64), "overlaps tensor"),
    "table cut short": (header(1) + text("t" * 30), "the file ends inside the dimensions of tensor '"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_in_one_sentence(tmp_path, name):
    raw, message = BROKEN[name]
    (tmp_path / "x.gguf").write_bytes(raw)
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match=re.escape(message)) as caught:
            open_gguf(tmp_path / "x.gguf")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{tmp_path / 'x.gguf'}: ")
    assert len(str(caught.value).splitlines()) == 1
    assert peak < 2 * len(raw) + 300_000


def test_every_cut_of_a_good_file_is_refused(tmp_path):
    metadata = {"general.architecture": "llama", "texts": ["a", "bc", ""], "n": 5, "xs": np.arange(3)}
    write_gguf(
        tmp_path / "x.gguf", metadata, {"a": (GGMLType.Q4_0, (2, 32), bytes(36)), "b": (GGMLType.F32, (8,), bytes(32))}
    )
    raw = (tmp_path / "x.gguf").read_bytes()
    for n in range(len(raw)):
        (tmp_path / "y.gguf").write_bytes(raw[:n])
        with pytest.raises(ModelFileError):
            open_gguf(tmp_path / "y.gguf")


HOSTILE = {
    "keys": header(0, MAX_KEYS) + b"".join(key(f"{i:x}", 0, b"\0") for i in range(MAX_KEYS)),
    "tensors": with_data([tensor(f"{i:x}", [], 24, 32 * i) for i in range(5000)], 32 * 5000),
    "empty strings": header(0, 1) + key("a", ARRAY, array(STRING, 10**5, bytes(8 * 10**5))),
    "zeros": header(0, 1) + key("a", ARRAY, array(STRING, 10**4, text(bytes(30)) * 10**4)),
    "text": header(0, 1) + key("a", STRING, text(("a" * 10**6 + "\U0001f600") * 4)),
    "bools": header(0, 1) + key("a", ARRAY, array(BOOL, 10**7, bytes(10**7))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_opening_takes_at_most_twice_the_file_and_a_constant(tmp_path, name):
    (tmp_path / "x.gguf").write_bytes(HOSTILE[name])
    tracemalloc.start()
    try:
        began = time.process_time()
        file = open_gguf(tmp_path / "x.gguf")
        took = time.process_time() - began
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(file.metadata) + len(file.tensors) > 0
    # Keys and tensors are Python objects, so their numbers are limited: 8 MB for the most keys.
    assert peak < 2 * len(HOSTILE[name]) + {"keys": 8e6, "tensors": 6e6}.get(name, 3e6)
    assert took < 20


def test_what_is_not_a_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path, "not a regular file"),
        (tmp_path / "pipe", "not a regular"),
        (tmp_path / "no", "No such"),
    ):
        with pytest.raises(ModelFileError, match=message):
            open_gguf(path)


def test_a_closed_file_and_an_unknown_tensor_are_refused(tmp_path):
    write_gguf(tmp_path / "x.gguf", {}, {"a": (GGMLType.F32, (1,), bytes(4))})
    file = open_gguf(tmp_path / "x.gguf")
    with pytest.raises(ModelFileError, match="there is no tensor 'b'"):
        file.data("b")
    file.close()
    with pytest.raises(ModelFileError, match="the file was closed"):
        file.data("a")


@pytest.fixture
def parts(tmp_path):
    table = {f"t{i}": (GGMLType.F32, (8,), bytes(32)) for i in range(4)}
    return write_split(tmp_path / "m", {"general.architecture": "llama"}, table, 2)


def rewrite(path, number, count, names, total=4):
    split = {"split.no": number, "split.count": count, "split.tensors.count": total}
    write_gguf(path, split, {name: (GGMLType.F32, (8,), bytes(32)) for name in names})


def test_split_files_that_do_not_fit_together_are_refused(parts, tmp_path):
    first, second = parts
    rewrite(second, 0, 2, ["t2", "t3"])
    with pytest.raises(ModelFileError, match=r"expected part 1 of 2 by its name, found split\.no 0 and split\.count 2"):
        open_gguf(first)
    rewrite(second, 1, 2, ["t1", "t2"])
    with pytest.raises(ModelFileError, match="tensor 't1' is in part 1 too"):
        open_gguf(first)
    rewrite(second, 1, 2, ["t2"])
    with pytest.raises(ModelFileError, match=r"split\.tensors\.count is 4, but the parts hold 3 tensors"):
        open_gguf(first)
    write_gguf(second, {}, {})
    with pytest.raises(ModelFileError, match=r"metadata 'split\.no': the key is missing"):
        open_gguf(first)
    second.unlink()
    with pytest.raises(ModelFileError, match=r"-00002-of-00002\.gguf: cannot be opened: No such file"):
        open_gguf(first)
    first.rename(tmp_path / "renamed.gguf")
    with pytest.raises(ModelFileError, match=r"one of 2 parts, and parts are found by name: NAME-00001-of-00002\.gguf"):
        open_gguf(tmp_path / "renamed.gguf")
    write_gguf(tmp_path / "many.gguf", {"split.count": Typed(ValueType.UINT16, 65535)}, {})
    with pytest.raises(ModelFileError, match=r"split\.count is 65535; the limit is 9999"):
        open_gguf(tmp_path / "many.gguf")
