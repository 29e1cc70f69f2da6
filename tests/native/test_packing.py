"""Packing many matrices in one call: each as if alone, all or none, and the file's pages let go of."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.program import random_matrix

from outpace import _native
from outpace.gguf.types import GGMLType

TIER = _native.supported_tiers()[0]
KINDS = [GGMLType.Q4_1, GGMLType.F32, GGMLType.Q6_K, GGMLType.Q8_0] * 3


def arena(sizes, threads=3):
    n_bytes = sum(_native.packed_bytes(TIER, int(kind), rows, width) for kind, rows, width in sizes)
    return _native.WeightArena(TIER, _native.Pool(threads), n_bytes)


def test_together_as_alone():
    """Over several threads' shares of the arena, with borders inside of matrices and several matrices in a share."""
    rng = np.random.default_rng(1)
    sizes = [(kind, 1 + 700 * (i % 3), 1024) for i, kind in enumerate(KINDS)]
    sources = [(int(kind), rows, width, random_matrix(rng, kind, rows, width)[0], None) for kind, rows, width in sizes]
    together, alone = arena(sizes), arena(sizes, threads=1)
    for weight, source in zip(together.pack_all(sources), sources, strict=True):
        kind, rows, width, raw, _ = source
        expected = alone.pack(kind, rows, width, raw)
        assert (weight.type, weight.n_rows, weight.n_cols) == (kind, rows, width)
        for row in range(rows):
            assert together.unpack_row(weight, row) == alone.unpack_row(expected, row), (kind, row)


def test_where_one_cannot_be_packed_none_is():
    small = arena([(GGMLType.F32, 16, 16)])
    good = (int(GGMLType.F32), 16, 16, np.ones(1024, np.uint8), None)
    with pytest.raises(ValueError, match="no kernel"):
        small.pack_all([good, (int(GGMLType.Q2_K), 1, 256, np.zeros(84, np.uint8), None)])
    with pytest.raises(ValueError, match="full"):
        small.pack_all([good, good])
    assert len(small.pack_all([good])) == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory by kind is told by Linux only")
def test_a_packed_file_leaves_memory(tmp_path):
    """Its pages go from the process's resident memory, and can be read again."""
    rows, width = 16384, 1024
    values = np.arange(rows * width, dtype=np.float32)
    values.tofile(tmp_path / "weights")
    mapped = np.memmap(tmp_path / "weights", np.uint8, "r")
    assert mapped.max() > 0
    before = resident_file_bytes()
    target = arena([(GGMLType.F32, rows, width)])
    (weight,) = target.pack_all([(int(GGMLType.F32), rows, width, mapped, mapped)])
    assert before - resident_file_bytes() > 0.9 * mapped.size
    assert target.unpack_row(weight, 3) == values[3 * width : 4 * width].tolist()
    assert np.array_equal(mapped.view(np.float32), values)


def resident_file_bytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssFile:"))
