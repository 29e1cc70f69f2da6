"""The native suffix index proposes what its twin proposes, and is small and quick in a long text."""

import random
from time import process_time

from hypothesis import given, settings
from hypothesis import strategies as st

from outpace import _native
from outpace.speculate.suffix import SuffixDrafter, Twin


@st.composite
def texts(draw):
    """Tokens that repeat themselves: few kinds of them, or passages copied with mistakes."""
    seed = random.Random(draw(st.integers(0, 2**32)))
    n_kinds = draw(st.sampled_from([1, 2, 3, 50, 2**31 - 1]))
    tokens: list[int] = []
    while len(tokens) < draw(st.integers(1, 400)):
        if tokens and seed.random() < 0.6:
            at = seed.randrange(len(tokens))
            tokens += tokens[at : at + seed.randrange(1, 90)]
        else:
            tokens += [seed.randrange(n_kinds) for _ in range(seed.randrange(1, 20))]
    return tokens


@settings(max_examples=150, deadline=None)
@given(texts(), st.integers(0, 100), st.sampled_from([64, 64, 8, 2, 0]), st.integers(-1, 20))
def test_proposes_what_the_twin_proposes(tokens, n_prompt, hash_bits, most):
    native, twin = _native.Suffix(hash_bits), Twin()
    n_prompt = min(n_prompt, len(tokens))
    native.observe(tokens[:n_prompt])
    twin.observe(tokens[:n_prompt])
    assert native.match == twin.match
    n_observed, n = n_prompt, n_prompt
    while n < len(tokens):
        # Steps of one to three tokens: the last is proposed from, but not yet observed.
        n = min(n + 1 + n % 3, len(tokens))
        assert native.propose(tokens[:n], most) == twin.propose(tokens[:n], most)
        assert native.match == twin.match
        native.observe(tokens[n_observed : n - 1])
        twin.observe(tokens[n_observed : n - 1])
        n_observed = n - 1


def test_a_drafter_of_either_kind_drafts_the_same():
    tokens = [random.Random(1).randrange(4) for _ in range(300)]
    assert SuffixDrafter().propose(tokens, 8) == SuffixDrafter(reference=True).propose(tokens, 8)


def test_a_long_text_costs_no_more_a_token():
    rng = random.Random(0)
    tokens = [rng.randrange(50_000) for _ in range(100_000)]
    index = _native.Suffix()
    index.observe(tokens)
    proposals = [[*tokens, *tokens[500 : 520 + i]] for i in range(50)]
    began = process_time()
    for each in proposals:
        assert index.propose(each, 8)[0] == tokens[len(each) - 100_000 + 500 :][:8]
    # Microseconds are what it takes; the bound leaves room for a busy machine.
    assert (process_time() - began) / len(proposals) < 1e-3
