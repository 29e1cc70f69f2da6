"""Rows picked, stacked and changed are those numpy picks, however they are asked for."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from outpace.convert.rows import Changed, Held, Picked, Shaped, Stacked, n_elements, n_rows


class Watched(Held):
    """Rows that note how many were read."""

    def read(self, start, stop):
        assert 0 <= start <= stop <= n_rows(self)
        counts.append(stop - start)
        return super().read(start, stop)


counts: list[int] = []


@given(st.lists(st.integers(0, 11), min_size=1, max_size=30), st.data())
def test_picked_rows(index, data):
    x = np.arange(48, dtype=np.float32).reshape(12, 4)
    picked = Picked(Held(x), np.array(index))
    start = data.draw(st.integers(0, len(index) - 1))
    stop = data.draw(st.integers(start + 1, len(index)))
    assert np.array_equal(picked.read(start, stop), x[index[start:stop]])


def test_a_shuffle_within_a_stretch_is_read_at_once():
    x = np.arange(64 * 3, dtype=np.float32).reshape(64, 3)
    order = np.arange(64).reshape(2, 32).T.reshape(-1)
    counts.clear()
    assert np.array_equal(Picked(Watched(x), order).read(0, 64), x[order])
    assert counts == [64]


@given(st.integers(0, 24), st.integers(0, 24))
def test_stacked_rows(one, other):
    x = np.arange(4 * 6 * 2, dtype=np.float32).reshape(4, 6, 2)
    stacked = Stacked([Held(part) for part in x])
    start, stop = sorted((one, other))
    assert stacked.shape == (4, 6, 2) and n_elements(stacked) == 48
    if start < stop:
        assert np.array_equal(stacked.read(start, stop), x.reshape(24, 2)[start:stop])


def test_changed_and_shaped_rows():
    x = np.arange(12, dtype=np.float32).reshape(3, 1, 4)
    rows = Shaped(Changed(Held(x), lambda each: each[:, ::-1] + 1), (3, 4))
    assert np.array_equal(rows.read(1, 3), x[1:, 0, ::-1] + 1)
