"""One native call accepts a draft as `speculate.accept` over `choose` does, from the logits a program left."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.program import NONE, WANTED, Space, padded, program
from tests.support.sampling import OPEN

from outpace import _native
from outpace.gguf.types import GGMLType
from outpace.sampling import Sampler, SamplingParams
from outpace.speculate import accept

TIERS = _native.supported_tiers()
K = 32


def programmed(logits, tier=TIERS[0], threads=2):
    """Return a program that leaves these logits [W, V], exactly, in its last run, and the arrays of them."""
    n_rows, n = logits.shape
    weights = np.zeros((n, K), np.float32)
    weights[:, :n_rows] = logits.T
    space = Space()
    at_x, at_out = space.take(4 * n_rows * K), space.take(4 * n_rows * padded(n))
    arena = _native.WeightArena(tier, _native.Pool(threads), _native.packed_bytes(tier, int(GGMLType.F32), n, K))
    weight = arena.pack(int(GGMLType.F32), n, K, weights.reshape(-1).view(np.uint8))
    found = program(tier, space, threads=threads, rows=n_rows, arena=arena)
    found.add_linear(
        rows=WANTED, x=at_x, x_stride=K, codes=(NONE, NONE, 0, 0), weights=[weight], outs=[at_out], strides=[padded(n)],
        residuals=[NONE], biases=[[]],
    )  # fmt: skip
    assert found.keep_peaks(at_out)
    found.floats(at_x, n_rows, K, K)[:] = np.eye(n_rows, K, dtype=np.float32)
    found.run([0] * n_rows, [(0, n_rows, np.zeros(1, np.int32))], list(range(n_rows)))
    return found, found.floats(at_out, n_rows, padded(n), n)


SETTINGS = [
    SamplingParams.greedy(),
    SamplingParams(),
    SamplingParams(**OPEN),
    SamplingParams(**OPEN | {"typical_p": 0.9}),
    SamplingParams(temperature=1.5, logit_bias=((3, -4.0), (0, 2.0))),
    SamplingParams(repeat_penalty=1.3, frequency_penalty=0.4, repeat_last_n=4),
    SamplingParams(temperature=0, repeat_penalty=3.0, repeat_last_n=-1),
    SamplingParams(temperature=0, presence_penalty=50.0, repeat_last_n=2),
]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(SETTINGS), st.sampled_from([7, 7, 64, 65, 200, 1000]), st.integers(1, 6), st.integers(0, 3),
    st.sampled_from([0.5, 3.0]), st.integers(0, 2**32), st.data(),
)  # fmt: skip
def test_accepts_what_choosing_row_by_row_accepts(params, n, n_rows, first_row, spread, seed, data):
    rng = np.random.default_rng(seed)
    logits = np.round(rng.normal(size=(first_row + n_rows, n)) * spread, 1).astype(np.float32)
    ran, rows = programmed(logits, data.draw(st.sampled_from(TIERS)), data.draw(st.sampled_from([1, 2])))
    assert np.array_equal(rows, logits)
    sampler, position = Sampler(params, n), 20
    tokens = rng.integers(0, n, position).tolist()
    last_n = params.repeat_last_n if params.repeat_last_n >= 0 else 1000

    def history(draft):
        return [*tokens, *draft][-last_n:] if sampler.needs_history else []

    # What plain decoding would write, so that drafts are right for a while.
    text: list[int] = []
    for i in range(n_rows):
        text.append(sampler.choose(logits[first_row + i], position + i, history(text)))
    n_right = data.draw(st.integers(0, n_rows - 1))
    draft = text[:n_right] + rng.integers(0, n, n_rows - 1 - n_right).tolist()
    expected = accept(draft, lambda i: sampler.choose(logits[first_row + i], position + i, history(draft[:i])))
    window = last_n if sampler.needs_history else 0
    assert sampler.accept(draft, ran, first_row, position, history([]), window) == expected
    assert expected.n >= n_right


def test_rows_that_are_not_there_are_refused():
    ran, _ = programmed(np.zeros((2, 64), np.float32))
    sampler = Sampler(SamplingParams.greedy(), 64)
    assert sampler.accept([0], ran, 0, 5, (), 0) == (1, 0)
    for draft, first_row in (([0, 0], 0), ([0], 1), ([], 2)):
        with pytest.raises(ValueError, match="other rows than the draft asks for"):
            sampler.accept(draft, ran, first_row, 5, (), 0)
    with pytest.raises(ValueError, match="other rows"):
        Sampler(SamplingParams.greedy(), 63).accept([], ran, 0, 5, (), 0)


@pytest.mark.parametrize("at", [0, 63, 64, 99])
def test_a_row_without_a_number_gives_a_reason(at):
    logits = np.zeros((1, 100), np.float32)
    logits[0, at] = np.nan
    ran, _ = programmed(logits)
    assert Sampler(SamplingParams.greedy(), 100).accept([], ran, 0, 5, (), 0) == (0, -1)


def test_a_program_without_a_head_keeps_no_peaks():
    space = Space()
    at = space.take(64)
    ran = program(TIERS[0], space, rows=1)
    assert not ran.keep_peaks(at)
    with pytest.raises(RuntimeError, match="keeps no peaks"):
        Sampler(SamplingParams.greedy(), 16).accept([], ran, 0, 5, (), 0)


def test_a_page_table_of_another_kind_is_refused():
    ran, _ = programmed(np.zeros((1, 64), np.float32))
    for wrong in (np.zeros(1), np.zeros((1, 1), np.int32), [0], b"1234"):
        with pytest.raises((TypeError, BufferError)):
            ran.run([0], [(0, 1, wrong)], [0])
    with pytest.raises((ValueError, BufferError)):
        ran.run([0], [(0, 1, np.zeros(4, np.int32)[::2])], [0])
