"""SmolLM2 on real text, teacher-forced, against transformers with the same dequantised weights."""

import math
from pathlib import Path

import numpy as np
import pytest
from bench import quality

N_TOKENS = 511  # the whole text: on half of it one token is 0.4 points
N_REFERENCE = 16  # the reference reads every weight for every row


def test_compare_by_hand():
    exact = np.log(np.array([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]], np.float32))
    ours = np.log(np.array([[0.25, 0.5, 0.25], [0.2, 0.2, 0.6]], np.float32)) + 3  # logits are free up to a constant
    found = quality.compare(exact, ours, [0, 1])
    assert found.top1 == 0.5
    assert found.mean_kl == pytest.approx(0.25 * math.log(2) / 2, rel=1e-5)
    assert found.perplexity == pytest.approx(2.0, rel=1e-5)


class Deaf:
    """A peer that reads the same tokens in every text."""

    def logits(self, path: Path, text: str, n_tokens: int) -> tuple[list[int], np.ndarray]:
        return [1, 2, 3], np.zeros((3, 4), np.float32)


def test_the_peer_must_read_the_same_tokens(tmp_path: Path):
    score = quality.peer_scorer(Deaf(), "one two three")
    assert score(tmp_path, (1, 2, 3)).shape == (3, 4)
    with pytest.raises(SystemExit, match="from token 1 on"):
        score(tmp_path, (1, 5, 3))
    with pytest.raises(SystemExit, match="in length"):
        score(tmp_path, (1, 2, 3, 4))


@pytest.fixture(scope="module")
def exact(smollm2_path: Path) -> tuple[list[int], np.ndarray]:
    pytest.importorskip("bench.oracle", reason="needs torch and transformers")
    tokens = quality.tokens_of(smollm2_path, quality.TEXT.read_text())[:N_TOKENS]
    logits = quality.exact_logits(smollm2_path, tokens)
    # The judge itself must read the file well, or it proves nothing.
    assert quality.compare(logits, logits, tokens).perplexity < 20
    return tokens, logits


def test_the_reference_is_exact(smollm2_path: Path, exact):
    tokens, logits = exact
    ours = quality.backend_scorer(quality.ReferenceBackend(), "f32")(smollm2_path, tokens[:N_REFERENCE])
    found = quality.compare(logits[:N_REFERENCE], ours, tokens[:N_REFERENCE])
    assert found.top1 == 1.0
    assert found.mean_kl < 1e-8


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_the_cpu_backend_says_the_same(smollm2_path: Path, exact, kv_type: str):
    cpu = pytest.importorskip("outpace.backends.cpu.backend", reason="the CPU backend is not built")
    tokens, logits = exact
    ours = quality.backend_scorer(cpu.CpuBackend(), kv_type)(smollm2_path, tokens)
    found = quality.compare(logits, ours, tokens)
    assert found.top1 >= 0.97
    assert found.mean_kl < 0.002
