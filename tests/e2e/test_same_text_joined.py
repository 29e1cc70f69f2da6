"""P1 of names with a head: the model and its head as one file write what the model alone writes."""

import numpy as np
import pytest
from tests.support import joining

from outpace import LLM
from outpace.hub import CATALOGUE, catalogue
from outpace.speculate import FixedDepth

N = 40


def write(model: str, spec_type: str, temperature: float, prompts: list[list[int]]) -> tuple[list[list[int]], int]:
    """Return what is written to each prompt, and how many guesses the head made."""
    policy = FixedDepth(2) if spec_type == "mtp" else None
    with LLM(model, policy=policy, spec_type=spec_type, context=256, parallel=len(prompts)) as llm:
        found = llm.generate(prompt_tokens=prompts, max_tokens=N, ignore_eos=True, temperature=temperature, seed=3)
    return [each.tokens for each in found], sum(each.speculation.drafted for each in found)


def prompts(n_vocab: int) -> list[list[int]]:
    return [np.random.default_rng(n).integers(1, n_vocab, n).tolist() for n in (5, 60, 17)]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_tiny_one(tmp_path, monkeypatch, temperature):
    trunk, head = joining.write_files(tmp_path / "files")
    monkeypatch.setenv("OUTPACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(catalogue, "CATALOGUE", catalogue.with_bare((joining.entry(trunk, head),)))
    joining.put(tmp_path / "cache", trunk)
    alone, _ = write("tiny-base", "auto", temperature, prompts(joining.N_VOCAB))
    for spec_type in ("none", "mtp", "auto"):
        together, n_drafted = write("tiny", spec_type, temperature, prompts(joining.N_VOCAB))
        assert together == alone, spec_type
        assert n_drafted > 0 or spec_type != "mtp"


@pytest.mark.parametrize("name", [each.name for each in CATALOGUE if each.head])
def test_those_of_the_catalogue(name):
    alone, _ = write(f"{name}-base", "none", 0.0, prompts(40_000))
    for spec_type in ("mtp", "auto"):
        together, n_drafted = write(name, spec_type, 0.0, prompts(40_000))
        assert together == alone, spec_type
        assert n_drafted > 0 or spec_type != "mtp"
