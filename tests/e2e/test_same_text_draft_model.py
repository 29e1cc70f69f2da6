"""P1 with a separate draft model on the CPU: types, depths, threads, company and temperature change no token."""

from pathlib import Path

import numpy as np
import pytest
from bench.random_gguf import write_random_llama

from outpace import LLM
from outpace.gguf.types import GGMLType
from outpace.speculate import FixedDepth

N = 40
# The last is longer than a step.
PROMPTS = [np.random.default_rng(n).integers(300, 700, n).tolist() for n in (30, 7, 560)]
SIZES = {"n_layers": 2, "d_model": 256, "n_heads": 4, "n_kv_heads": 2, "head_dim": 64, "d_ff": 256, "vocab": 700}
WAYS = [("draft", 1, 1), ("draft", 4, 2), ("suffix+draft", 4, 2), ("auto", None, 1)]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    at = tmp_path_factory.mktemp("models")
    small = SIZES | {"n_layers": 1, "d_model": 64, "head_dim": 16, "d_ff": 128}
    return {
        "model": write_random_llama(at / "model.gguf", type=GGMLType.Q4_K, **SIZES),
        "other": write_random_llama(at / "other.gguf", arch="qwen3", type=GGMLType.Q8_0, tied=False, **small),
    }


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("name", ["model", "other"])
def test_drafting_changes_no_token(files, name, temperature, kv_type):
    ask = {"max_tokens": N, "ignore_eos": True, "temperature": temperature, "seed": 7}
    options = {"context": 640, "kv_type": kv_type}
    with LLM(files["model"], spec_type="none", threads=1, **options) as llm:
        plain = [llm.generate(prompt_tokens=prompt, **ask).tokens for prompt in PROMPTS]
    for spec_type, depth, threads in WAYS:
        policy = None if depth is None else FixedDepth(depth)
        options |= {"spec_type": spec_type, "threads": threads, "parallel": 3}
        with LLM(files["model"], draft_model=files[name], policy=policy, **options) as llm:
            together = llm.generate(prompt_tokens=PROMPTS, **ask)
            alone = llm.generate(prompt_tokens=PROMPTS[2], **ask)
        assert [each.tokens for each in together] == plain, (spec_type, depth, threads, "in a batch")
        assert alone.tokens == plain[2], (spec_type, depth, threads)
        if spec_type == "draft":
            told = [each.speculation for each in (alone, *together)]
            n_drafted, n_accepted = (sum(getattr(each, what) for each in told) for what in ("drafted", "accepted"))
            # The model itself is right, with the same noise, whatever came before; another hardly ever is.
            assert 0 < n_accepted == n_drafted if name == "model" else n_drafted > n_accepted
