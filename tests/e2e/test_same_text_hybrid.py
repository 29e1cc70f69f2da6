"""P1 on the CPU with the head of a hybrid model: types, depths, threads, company and temperature change no token."""

from pathlib import Path

import numpy as np
import pytest
from bench.random_hybrid import write_random_hybrid

from outpace import LLM
from outpace.speculate import FixedDepth

pytest.importorskip("outpace._native", reason="the CPU backend is not built")

N = 100
PROMPTS = [np.random.default_rng(n).integers(300, 1000, n).tolist() for n in (30, 7, 150)]
WAYS = [
    ("mtp", FixedDepth(1), 1),
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
