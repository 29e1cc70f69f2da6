"""P1 on the CPU with the head of a hybrid model: types, depths, threads, company and temperature change no token.

`python -m bench.same_text_hybrid` runs the full product over more files.
"""

from pathlib import Path

import numpy as np
import pytest
from bench.random_hybrid import write_random_hybrid
from bench.same_text_hybrid import DRAFTERS, TEMPERATURES, run
from bench.tasks.prompts import some

from outpace import LLM
from outpace.speculate import FixedDepth

N = 100
PROMPTS = [np.random.default_rng(n).integers(300, 1000, n).tolist() for n in (30, 7, 150)]
WAYS = [
    ("mtp", FixedDepth(1), 1),
    ("mtp", FixedDepth(2), 2),
    ("mtp", FixedDepth(3), 2),
    ("mtp", FixedDepth(8), 2),
    ("suffix+mtp", FixedDepth(5), 1),
    ("auto", None, 2),
]


def write(path: Path, spec_type: str, policy, threads: int, temperature: float, prompts, parallel: int = 1):
    options = {"context": 512, "spec_type": spec_type, "threads": threads, "parallel": parallel}
    with LLM(path, policy=policy, **options) as llm:
        ask = {"max_tokens": N, "ignore_eos": True, "temperature": temperature, "seed": 7}
        return llm.generate(prompt_tokens=prompts, **ask)


@pytest.fixture(scope="module", params=["F16", "Q8_0", "Q4_K_M"])
def file(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hybrid")
    return write_random_hybrid(folder / "tiny.gguf", type=request.param, mtp_aligned=0.7)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_drafting_changes_no_token(file, temperature):
    plain = [write(file, "none", None, 1, temperature, prompt).tokens for prompt in PROMPTS]
    for spec_type, policy, threads in WAYS:
        found = write(file, spec_type, policy, threads, temperature, PROMPTS[0])
        assert found.tokens == plain[0], (spec_type, threads)
        together = write(file, spec_type, policy, threads, temperature, PROMPTS, parallel=3)
        assert [each.tokens for each in together] == plain, (spec_type, threads, "in a batch")
        assert sum(each.speculation.drafted for each in together) > 0 or spec_type == "auto"


@pytest.mark.slow
@pytest.mark.parametrize("aligned", [None, 0.7])
@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_K_M"])
def test_the_full_product_writes_the_same_400_tokens(tmp_path, kind, aligned):
    path = write_random_hybrid(tmp_path / "tiny.gguf", type=kind, mtp_aligned=aligned)
    found = run(path, some(2), 400, DRAFTERS, ["f16"])
    assert not found.differences, "\n".join(map(str, found.differences))
    assert found.n_tokens == 400 * found.n_texts
    assert found.n_texts == 2 * 2 * 2 * len(TEMPERATURES) * len(DRAFTERS)
    for depth in (1, 2, 3, 5, 8):
        drafted, accepted = found.drafts[f"mtp {depth}"]
        # A random head is hardly ever right.
        assert drafted > 0 and (accepted > 0.1 * drafted or aligned is None), f"depth {depth}: {accepted} of {drafted}"


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["qwen35moe", "qwen3next"])
def test_mixtures_of_experts_write_the_same(tmp_path, arch):
    path = write_random_hybrid(tmp_path / "tiny.gguf", arch=arch, type="Q8_0", mtp_aligned=0.7)
    found = run(path, some(4), 200, ["none", "mtp 3", "auto"], ["f16"])
    assert not found.differences, "\n".join(map(str, found.differences))
    assert found.drafts["mtp 3"][1] > 0
