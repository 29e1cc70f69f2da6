"""Draft programs against a head written in torch from its description: the tokens that they draft, five deep."""

from pathlib import Path

import numpy as np
import pytest

from outpace.backends.backend import Executable, Limits
from outpace.backends.reference import ReferenceBackend
from outpace.gguf.file import open_gguf
from outpace.graph.step import PAGE, Segment, Step
from outpace.models import load_plan

oracle = pytest.importorskip("bench.oracle", reason="needs torch and transformers")

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


@pytest.fixture(autouse=True)
def one_thread():
    """Thousands of products of small matrices: threads would wait for each other."""
    import torch

    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


class Chain:
    """Drafts with our program: true rows first, then on from its own guesses."""

    def __init__(self, executable: Executable) -> None:
        self._executable = executable
        self._pages = np.arange(executable.limits.n_pages, dtype=np.int32)

    def _run(self, tokens: list[int], hidden: np.ndarray, start: int) -> tuple[np.ndarray, int]:
        """Run rows; return the last one's state [1, D] and the token it expects."""
        last = [len(tokens) - 1]
        segment = Segment(start, len(tokens), self._pages)
        result = self._executable.run(Step(tokens, [segment], last, last, hidden.astype(np.float32)))
        return result.hidden.copy(), int(result.logits[0].argmax())

    def drafts(self, tokens: list[int], hidden: np.ndarray, start: int) -> list[int]:
        """Return the guesses after `tokens`, which stand at `start` and after, with the true state before each."""
        state, token = self._run(tokens, hidden, start)
        found = [token]
        for position in range(start + len(tokens), start + len(tokens) + DEPTH - 1):
            state, token = self._run([token], state, position)
            found.append(token)
        return found


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
        chain = Chain(ReferenceBackend().compile(load_plan(file).draft, file, limits))
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
