"""P1 with Medusa heads on quantised files: types, depths, threads, company and temperature change no token."""

from pathlib import Path

import numpy as np
import pytest
from bench.random_gguf import write_random_llama
from tests.support import medusa

from outpace import LLM
from outpace.gguf.file import open_gguf
from outpace.gguf.quants import quantize
from outpace.gguf.types import GGMLType
from outpace.gguf.writer import write_gguf
from outpace.speculate import FixedDepth

N, K = 40, 3
PROMPTS = [np.random.default_rng(n).integers(300, 700, n).tolist() for n in (30, 7, 90)]
SIZES = {"n_layers": 3, "d_model": 256, "n_heads": 4, "n_kv_heads": 2, "head_dim": 64, "d_ff": 256, "vocab": 700}
WAYS = [("medusa", 1, 1), ("medusa", 3, 1), ("medusa", 3, 2), ("suffix+medusa", 4, 2), ("auto", None, 1)]


def write_heads(model: Path, path: Path, kind: GGMLType) -> Path:
    """Write random heads in a file of their own, small enough to be right where the text repeats a token."""
    with open_gguf(model) as file:
        arch = file.metadata.str("general.architecture")
        keys = {key: file.metadata[key] for key in file.metadata if not key.startswith("tokenizer.")}
    tensors = {}
    for name, values in medusa.arrays(K, SIZES["d_model"], size=0.1).items():
        own = kind if values.ndim > 1 else GGMLType.F32
        tensors[name] = (own, values.shape, values if own is GGMLType.F32 else quantize(values, own))
    keys |= {f"{arch}.medusa.head_count": K, f"{arch}.vocab_size": SIZES["vocab"]}
    write_gguf(path, keys, tensors)
    return path


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize(("arch", "kind"), [("llama", GGMLType.Q8_0), ("qwen3", GGMLType.Q4_K)])
def test_drafting_changes_no_token(tmp_path, arch, kind, temperature):
    path = write_random_llama(tmp_path / "a.gguf", arch=arch, type=kind, **SIZES, tied=arch == "llama")
    heads = write_heads(path, tmp_path / "heads.gguf", GGMLType.Q8_0 if arch == "llama" else GGMLType.Q4_0)

    def write(spec_type, depth, threads, prompts, **options):
        policy = None if depth is None else FixedDepth(depth)
        options = {"context": 256, "spec_type": spec_type, "threads": threads, "draft_model": heads} | options
        with LLM(path, policy=policy, **options) as llm:
            ask = {"max_tokens": N, "ignore_eos": True, "temperature": temperature, "seed": 7}
            return llm.generate(prompt_tokens=prompts, **ask)

    plain = [write("none", None, 1, prompt, draft_model=None).tokens for prompt in PROMPTS]
    for spec_type, depth, threads in WAYS:
        alone = write(spec_type, depth, threads, PROMPTS[0])
        assert alone.tokens == plain[0], (spec_type, depth, threads)
        together = write(spec_type, depth, threads, PROMPTS, parallel=3)
        assert [each.tokens for each in together] == plain, (spec_type, depth, threads, "in a batch")
        told = [each.speculation for each in (alone, *together)]
        assert sum(each.drafted for each in told) > 0 or spec_type == "auto"
