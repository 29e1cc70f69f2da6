"""A file appears whole or not at all, in little memory, with the same bytes whatever the threads."""

import errno
import os
import tracemalloc
from collections import namedtuple

import numpy as np
import pytest
from tests.support.checkpoints import write_hybrid

from outpace.convert.conversion import convert
from outpace.errors import ConfigError, ModelFileError, ResourceError
from outpace.gguf.types import GGMLType
from outpace.gguf.writer import write_gguf

Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_hybrid(tmp_path_factory.mktemp("model") / "m", n_shards=2)


def big(path, n_rows=20_000, n_columns=1024):
    x = np.random.default_rng(0).standard_normal((n_rows, n_columns), np.float32)
    keys = {"general.architecture": "x", "x.block_count": 1}
    write_gguf(path, keys, {"blk.0.ffn_up.weight": (GGMLType.F32, x.shape, x)})
    return path


def test_threads_do_not_change_a_byte(tmp_path):
    source = big(tmp_path / "big.gguf", 5000)
    for threads in (1, 2, 5):
        convert(source, tmp_path / f"{threads}.gguf", type="Q6_K", n_threads=threads)
    assert len({(tmp_path / f"{threads}.gguf").read_bytes() for threads in (1, 2, 5)}) == 1


def test_memory_stays_small(tmp_path):
    source = big(tmp_path / "big.gguf")  # 82 MB
    tracemalloc.start()
    try:
        convert(source, tmp_path / "out.gguf", type="Q8_0")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30e6


def test_a_name_that_is_taken(folder, tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"expected a name that is not taken .--force replaces it"):
        convert(folder, path)
    assert path.read_bytes() == b"mine"
    convert(folder, path, is_forced=True)
    assert path.read_bytes()[:4] == b"GGUF"
    with pytest.raises(ConfigError, match="expected a file's name, not a folder's"):
        convert(folder, tmp_path, is_forced=True)
    with pytest.raises(ConfigError, match="expected a path in a folder that is there"):
        convert(folder, tmp_path / "no" / "m.gguf")
    with pytest.raises(ConfigError, match=r"--type is 'Q4_K'; expected one of F32, .*; did you mean 'Q4_K_M'"):
        convert(folder, tmp_path / "x.gguf", type="Q4_K")


def test_a_file_may_be_replaced_by_its_own_conversion(tmp_path):
    path = big(tmp_path / "m.gguf", 100)
    convert(path, path, type="Q8_0", is_forced=True)
    assert path.stat().st_size < 100 * 1100


@pytest.mark.parametrize("after", [0, 3])
def test_an_interrupt_leaves_nothing(folder, tmp_path, after):
    seen = []

    def interrupt(what, done, total):
        seen.append((what, done, total))
        if len(seen) > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(folder, tmp_path / "m.gguf", progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    assert seen[-1][0] == "m.gguf" and 0 < seen[-1][1] <= seen[-1][2]


def test_progress_ends_at_the_whole(folder, tmp_path):
    seen = []
    convert(folder, tmp_path / "m.gguf", progress=lambda _, done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1][0] == seen[-1][1] and len({total for _, total in seen}) == 1


def test_a_disk_that_is_too_small(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(1, 1, 1000))
    with pytest.raises(ResourceError, match=r"the file needs .* kB, 1.0 kB available; choose a smaller --type"):
        convert(folder, tmp_path / "m.gguf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, ResourceError), (errno.EIO, ModelFileError)])
def test_a_disk_that_fails_on_the_way(folder, tmp_path, monkeypatch, code, error):
    def fail(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(error, match=r"m\.gguf"):
        convert(folder, tmp_path / "m.gguf")
    assert list(tmp_path.iterdir()) == []
