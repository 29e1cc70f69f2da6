"""The noise is Philox 4x32-10 turned into Gumbel variates, and depends on (seed, position, token) alone."""

import numpy as np
import pytest

from outpace.sampling.noise import gumbel, gumbel_of, philox
from outpace.sampling.polynomials import exp_scaled


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # the known answers that Random123 ships for philox4x32 with 10 rounds
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_known_answers(counter, key, expected):
    words = philox([np.array([c], np.uint32) for c in counter], key)
    assert tuple(int(w[0]) for w in words) == expected


def test_noise_follows_its_formula():
    edges = np.array([0, 1, 2, 3, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1], np.uint32)
    words = np.concatenate([edges, np.random.default_rng(0).integers(0, 2**32, 200_000, dtype=np.uint32)])
    w = ((words >> 1).astype(np.float64) + 0.5) / 2**31
    exact = -np.log(-np.log1p(-w))
    noise = gumbel_of(words)
    assert noise.dtype == np.float32
    assert np.all(np.isfinite(noise))
    assert np.all(np.abs(noise - exact) <= 4e-7 * np.maximum(1, np.abs(exact)))
    assert noise.max() < 22.2  # what the native kernel's pruning counts on


def test_exp_follows_its_formula():
    x = -np.linspace(0, 80, 50_001).astype(np.float32)
    assert np.all(np.abs(exp_scaled(x, 0) / np.exp(x.astype(np.float64)) - 1) < 2e-7)
    assert exp_scaled(np.zeros(1, np.float32), 30)[0] == 2.0**30
    assert np.all(np.rint(exp_scaled(np.array([-np.inf, -23.0], np.float32), 30)) == 0)


def test_noise_of_a_token_ignores_which_others_are_asked_for():
    whole = gumbel(7, 11, np.arange(1000))
    some = np.random.default_rng(0).permutation(1000)[:137]
    assert np.array_equal(gumbel(7, 11, some), whole[some])


def test_tokens_of_a_chunk_share_blocks_as_documented():
    v, seed, position = 64 * 5 + 16 * 2 + 9, 0x123456789ABCDEF0, 0xFEDCBA9876543210
    block = [np.array([x], np.uint32) for x in (5 * 16 + 9, position & 0xFFFFFFFF, position >> 32, 0)]
    word = philox(block, (seed & 0xFFFFFFFF, seed >> 32))[2]
    assert gumbel(seed, position, np.array([v]))[0] == gumbel_of(word)[0]


def test_no_two_keys_share_noise():
    rows = [gumbel(seed, p, np.arange(64)) for seed in (0, 1, 2**32, 2**64 - 1) for p in (0, 1, 2**32, 2**63)]
    assert len({row.tobytes() for row in rows}) == len(rows)


@pytest.mark.parametrize("axis", ["seed", "position"])
def test_neighbouring_keys_are_uncorrelated(axis):
    keys = [(s, 3) if axis == "seed" else (3, s) for s in range(9)]
    rows = np.stack([gumbel(seed, position, np.arange(20_000)) for seed, position in keys])
    off_diagonal = np.corrcoef(rows) - np.eye(9)
    assert np.abs(off_diagonal).max() < 4.5 / np.sqrt(20_000)


def test_noise_has_gumbel_moments():
    noise = np.concatenate([gumbel(1, p, np.arange(20_000)) for p in range(10)]).astype(np.float64)
    n = len(noise)
    assert abs(noise.mean() - np.euler_gamma) < 4 * np.pi / np.sqrt(6 * n)
    assert abs(noise.var() - np.pi**2 / 6) < 4 * np.sqrt(4.4 / n) * np.pi**2 / 6
    for q in (0.01, 0.5, 0.99, 0.9999):
        share = np.mean(noise < -np.log(-np.log(q)))
        assert abs(share - q) < 4.5 * np.sqrt(q * (1 - q) / n)
