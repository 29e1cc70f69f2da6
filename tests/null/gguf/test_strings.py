"""The bulk walk over string arrays equals the plain one, on kind and hostile bytes."""

import struct
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outpace.gguf import strings
from outpace.gguf.file import open_gguf
from outpace.gguf.types import GGMLType, ValueType
from outpace.gguf.writer import Typed, write_gguf

pieces = st.one_of(
    st.just(b""),
    st.binary(max_size=12),
    st.sampled_from([b"\0", b"\0" * 7, b"\0" * 8, b"\0" * 20, b"a" * 255, b"a" * 256, b"x" * 70000, "ü漢".encode()]),
    st.text(max_size=10).map(str.encode),
)


def packed(items):
    return b"".join(struct.pack("<Q", len(item)) + item for item in items)


def plain_end(raw, at, n):
    for _ in range(n):
        if at + 8 > len(raw):
            return None
        at += 8 + struct.unpack_from("<Q", raw, at)[0]
    return at if at <= len(raw) else None


@settings(max_examples=80, deadline=None)
@given(st.lists(pieces, max_size=8), st.integers(1, 300), st.integers(0, 9), st.binary(max_size=9))
def test_the_walk_ends_where_the_plain_walk_ends(items, times, before, after):
    items = (items * times)[:1500]
    raw = b"\1" * before + packed(items) + after
    for n in {len(items), len(items) + 1, max(0, len(items) - 1)}:
        assert strings.end_of(memoryview(raw), before, n) == plain_end(raw, before, n)
    for cut in (raw[:-1], raw[: len(raw) // 2]):
        assert strings.end_of(memoryview(cut), before, len(items)) == plain_end(cut, before, len(items))


@settings(max_examples=60, deadline=None)
@given(st.lists(pieces, max_size=8), st.integers(1, 200))
def test_decoding_gives_every_string_or_says_which_is_not_utf8(items, times):
    items = (items * times)[:1000]
    try:
        expected = tuple(item.decode() for item in items)
    except UnicodeDecodeError as error:
        with pytest.raises(UnicodeDecodeError) as caught:
            strings.decode(memoryview(packed(items)), len(items))
        assert caught.value.object == error.object
    else:
        assert strings.decode(memoryview(packed(items)), len(items)) == expected


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 200))
def test_any_bytes_walk_alike(raw, n):
    raw = raw.replace(b"\1", b"\0\0\0\0\0\0\0\0").replace(b"\2", b"\2\0\0\0\0\0\0\0")
    assert strings.end_of(memoryview(raw), 0, n) == plain_end(raw, 0, n)


def test_lengths_near_2_to_64_do_not_wrap():
    for length in (2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1):
        raw = packed([b"a"] * 100) + struct.pack("<Q", length) + b"abc"
        for n in (101, 102, 10**6):
            assert strings.end_of(memoryview(raw), 0, n) is None


def test_a_large_vocabulary_opens_in_a_blink(tmp_path):
    rng = np.random.default_rng(0)
    tokens = [f"tok{n}" for n in rng.integers(0, 10**9, 250_000)]
    merges = [f"{a[:4]} {a[4:]}" for a in tokens]
    metadata = {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.scores": np.zeros(250_000, np.float32),
        "tokenizer.ggml.token_type": Typed(ValueType.INT32, [1] * 250_000),
    }
    write_gguf(tmp_path / "v.gguf", metadata, {"x": (GGMLType.F32, (8,), np.zeros(8, "<f4"))})
    times = []
    for _ in range(3):
        began = time.process_time()
        file = open_gguf(tmp_path / "v.gguf")
        times.append(time.process_time() - began)
    assert min(times) < 0.3  # 0.03 s where this was written
    assert file.metadata.strs("tokenizer.ggml.tokens") == tuple(tokens)
