"""Draft programs against a head written in torch from its description: the tokens that they draft, five deep."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.chain import Chain

from outpace.backends.backend import Limits
from outpace.backends.reference import ReferenceBackend
from outpace.gguf.file import open_gguf
from outpace.graph.step import PAGE
from outpace.models import load_plan

oracle = pytest.importorskip("bench.oracle", reason="needs torch and transformers")
pytestmark = pytest.mark.usefixtures("one_thread")

N, DEPTH = 80, 5
SMALL = {
    "d_model": 64,
    "head_dim": 16,
    "delta_dim": 16,
    "vocab": 300,
    "context": 512,
    "rope_base": 1e4,
    "n_layers": 4,
}


@pytest.mark.parametrize("arch", ["qwen35", "qwen35moe", "qwen3next"])
@pytest.mark.parametrize("aligned", [None, 0.3, 0.7])
def test_drafts_are_those_of_the_head(arch: str, aligned: float | None, tmp_path: Path):
    import torch
    from bench.random_hybrid import write_random_hybrid
    from tests.support.mtp_head import Head

    sizes = SMALL | ({"d_ff": 96, "tied": True} if arch == "qwen35" else {})
    path = write_random_hybrid(tmp_path / "a.gguf", arch=arch, type="F32", mtp_aligned=aligned, **sizes)
    random = np.random.default_rng(7)
    with open_gguf(path) as file:
        tokens = [int(token) for token in random.integers(0, 300, N)]
        states = torch.from_numpy(oracle.hidden(oracle.load(file), tokens)).double()
        limits = Limits(N, 1, -(-(N + DEPTH) // PAGE), "f32")
        chain = Chain(ReferenceBackend().compile(load_plan(file).draft, file, limits), DEPTH)
        head = Head(file)
    before = np.concatenate([np.zeros((1, states.shape[1])), states.numpy()])
    at, same = 0, np.zeros(DEPTH)
    rounds = 0
    while at < N - 3:
        end = at + int(random.integers(1, 4))  # as many rows as a round may accept
        ours = chain.drafts(tokens[at:end], before[at:end], at)
        theirs = head.drafts(tokens[:end], states[: end - 1], DEPTH)
        same += np.array(ours) == np.array(theirs)
        at, rounds = end, rounds + 1
    assert rounds > 30
    assert (same / rounds >= 0.995).all(), f"by depth: {same / rounds}"
