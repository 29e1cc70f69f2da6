"""The thread team: refusals, many short runs, idle members that wake."""

import numpy as np
import pytest
from tests.support.program import COPY, Space, add_rows, program, run_rows

from outpace import _native


def test_sizes_out_of_range_are_refused():
    for n in (0, -1, 5000):
        with pytest.raises(ValueError, match="1 to 1024"):
            _native.Pool(n)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_thousands_of_short_runs_end(threads):
    space = Space()
    at = space.take(4 * 32)
    q, s = space.take(_native.codes_bytes(1, 32)), space.take(64)
    prog = program("portable", space, rows=1, threads=threads)
    for _ in range(20):
        add_rows(prog, COPY, at, n=32, out=at, q=q, scales=s, max_rows=1)
    prog.floats(at, 1, 32, 32)[:] = np.arange(32)
    for _ in range(200):
        run_rows(prog, 1)
    assert prog.last_run_s > 0
    assert prog.floats(at, 1, 32, 32)[0, 31] == 31


def test_a_page_copies_over_all_layers():
    state = _native.State(pool=_native.Pool(1), n_pages=3, kv_type=1, kv=[(1, 16), (2, 32)])
    state.copy_page(0, 2)
    with pytest.raises(ValueError, match="page out of range"):
        state.copy_page(0, 3)


def test_buffers_out_of_range_are_refused():
    space = Space()
    prog = program("portable", space, rows=1)
    with pytest.raises(ValueError, match="out of range"):
        prog.floats(0, 10**9, 32, 32)
