"""P1 with the head of a plain transformer: types, depths, threads, company and temperature change no token."""

from pathlib import Path

import numpy as np
import pytest
from bench.random_gguf import write_random_llama

from outpace import LLM
from outpace.gguf.types import GGMLType
from outpace.speculate import FixedDepth

N = 48
PROMPTS = [np.random.default_rng(n).integers(300, 700, n).tolist() for n in (30, 7, 90)]
SIZES = {"n_layers": 3, "d_model": 256, "n_heads": 4, "n_kv_heads": 2, "head_dim": 64, "d_ff": 256, "vocab": 700}
WAYS = [("mtp", 1, 1), ("mtp", 1, 2), ("mtp", 3, 1), ("mtp", 3, 2), ("suffix+mtp", 4, 2), ("auto", None, 1)]


def write(path: Path, spec_type: str, depth: int | None, threads: int, temperature: float, prompts, **options):
    """Return the results of prompts written together."""
    policy = None if depth is None else FixedDepth(depth)
    with LLM(path, policy=policy, context=256, spec_type=spec_type, threads=threads, **options) as llm:
        ask = {"max_tokens": N, "ignore_eos": True, "temperature": temperature, "seed": 7}
        return llm.generate(prompt_tokens=prompts, **ask)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("aligned", [None, 0.7])
@pytest.mark.parametrize(("arch", "kind"), [("llama", GGMLType.Q8_0), ("qwen3", GGMLType.Q4_K)])
def test_drafting_changes_no_token(tmp_path, arch, kind, aligned, temperature):
    sizes = SIZES | {"tied": arch == "llama", "mtp": True, "mtp_aligned": aligned}
    path = write_random_llama(tmp_path / "a.gguf", arch=arch, type=kind, **sizes)
    plain = [write(path, "none", None, 1, temperature, prompt).tokens for prompt in PROMPTS]
    for spec_type, depth, threads in WAYS:
        alone = write(path, spec_type, depth, threads, temperature, PROMPTS[0])
        assert alone.tokens == plain[0], (spec_type, depth, threads)
        together = write(path, spec_type, depth, threads, temperature, PROMPTS, parallel=3)
        assert [each.tokens for each in together] == plain, (spec_type, depth, threads, "in a batch")
        told = [each.speculation for each in (alone, *together)]
        assert sum(each.drafted for each in told) > 0 or spec_type == "auto"
        # A head as random as the rest is hardly ever right.
        if aligned and spec_type == "mtp":
            assert sum(each.accepted for each in told) > 0.2 * sum(each.drafted for each in told)
