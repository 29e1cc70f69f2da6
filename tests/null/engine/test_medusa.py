"""P1 with Medusa heads: what they draft, in whatever company, changes no token; and it is what the heads say."""

from pathlib import Path

import numpy as np
import pytest
from tests.support import medusa, tiny
from tests.support.recorder import Recorder

from outpace.backends.reference import ReferenceBackend, alone
from outpace.errors import ConfigError
from outpace.gguf.file import open_gguf
from outpace.gguf.weights import Weights
from outpace.graft.detach import detach
from outpace.graph.step import PAGE
from outpace.llm import LLM
from outpace.models import load_plan
from outpace.speculate import AutoDepth, FixedDepth, StepCosts
from outpace.speculate.vocabulary import FREE, HIGH, size

V, K = 64, 3
PROMPT = [7, 8, 9, 10, 44, 5] * 4 + [1, 2, 3]
SAMPLED = {"temperature": 0.8, "seed": 3}
PENALISED = {"temperature": 0.7, "seed": 4, "repeat_penalty": 1.3, "presence_penalty": 0.5, "repeat_last_n": 16}


@pytest.fixture(scope="module", params=["llama", "qwen3", "qwen35"])
def path(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("medusa")
    bare = tiny.write_tiny(folder / "tiny.gguf", request.param)
    if request.param == "qwen35":
        detach(bare, bare, is_forced=True)
    # Some guesses of small heads are right, for the text of such a model repeats itself.
    return medusa.with_heads(bare, folder / f"{request.param}.gguf", K, size=0.3)


def llm(path: Path, spec_type: str, policy=None, **options) -> LLM:
    options = {"context": 512} | options
    return LLM(path, backend=lambda _: ReferenceBackend(), policy=policy, spec_type=spec_type, **options)


def write(path: Path, spec_type: str, policy=None, prompt=PROMPT, n=50, options=None, **sampling):
    with llm(path, spec_type, policy, **(options or {})) as model:
        return model.generate(prompt_tokens=prompt, max_tokens=n, ignore_eos=True, **({"temperature": 0.0} | sampling))


@pytest.mark.parametrize("sampling", [{}, SAMPLED, PENALISED], ids=["greedy", "sampled", "penalties"])
def test_any_depth_writes_what_plain_decoding_does(path, sampling):
    plain = write(path, "none", **sampling)
    kept = 0
    for depth in (1, 2, 3, 8):
        found = write(path, "medusa", FixedDepth(depth), **sampling)
        assert found.tokens == plain.tokens, depth
        assert found.speculation.drafted > 0 and found.speculation.drafter == "medusa"
        # There are as many guesses as heads.
        assert sum(found.speculation.drafted_by_position[K:]) == 0
        assert set(found.sources) <= {"", "medusa"}
        kept += found.speculation.accepted
    assert kept > 0 or not sampling  # greedy, such a model may say nothing that a random head guesses
    assert write(path, "suffix+medusa", FixedDepth(4), **sampling).tokens == plain.tokens
    costs = StepCosts({1: 1.0, 2: 1.02, 4: 1.1, 8: 1.3, 16: 2.0})
    assert write(path, "auto", AutoDepth(costs, 8), **sampling).tokens == plain.tokens


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_a_batch_writes_what_each_writes_alone(path, sampling):
    random = np.random.default_rng(0)
    prompts = [random.integers(0, V, n).tolist() for n in (5, 90, 1, 70, 33)]
    plain = [write(path, "none", prompt=prompt, n=20, **sampling).tokens for prompt in prompts]
    with llm(path, "medusa", FixedDepth(3), parallel=3) as model:
        ask = {"max_tokens": 20, "ignore_eos": True, "temperature": 0.0} | sampling
        together = model.generate(prompt_tokens=prompts, **ask)
        # And again, from the pages that are there.
        again = model.generate(prompt_tokens=prompts, **ask)
    assert [each.tokens for each in together] == plain == [each.tokens for each in again]
    assert sum(each.speculation.drafted for each in together) > 0


def test_sequences_that_give_way_are_recomputed_to_the_same_text(path):
    prompts = [list(range(k, k + 40)) for k in (0, 10, 20)]
    plain = [write(path, "none", prompt=prompt, n=70).tokens for prompt in prompts]
    with llm(path, "medusa", FixedDepth(3), parallel=3, context=128) as model:
        # Room for two of the three, but not at their full length.
        taken = [model._engine.memory._take() for _ in range(3)]
        together = model.generate(prompt_tokens=prompts, max_tokens=70, ignore_eos=True, temperature=0.0)
        assert model._engine.scheduler.n_preempted > 0 and taken
    assert [each.tokens for each in together] == plain


def said(path: Path, text: list[int]) -> np.ndarray:
    """The trunk's hidden state after each token, all computed at once."""
    with open_gguf(path) as file:
        model = load_plan(file)
        trunk = alone(file, text)
        model.definition.trunk(trunk, Weights(file), model.config)
    return trunk.outputs["hidden"]


def is_drafted_as_the_heads_say(path: Path, drafts: list[list[int]], text: list[int], at: int) -> None:
    """Each draft is what numpy says of the hidden state before the sequence's last token."""
    hidden = said(path, text)
    with open_gguf(path) as file:
        heads = medusa.Heads(file)
    for draft in drafts:
        assert draft == heads.drafts(hidden[at - 2], len(draft)), at
        at += 1 + next((i for i, (a, b) in enumerate(zip(draft, text[at:], strict=False)) if a != b), len(draft))


@pytest.mark.parametrize("n_prompt", [27, 300])
def test_drafts_are_what_the_heads_say_of_the_whole_text(path, n_prompt):
    prompt = medusa.tokens(n_prompt, V, 6)
    recorder = Recorder(3)
    found = write(path, "medusa", recorder, prompt=prompt, n=30)
    is_drafted_as_the_heads_say(path, recorder.drafts, prompt + found.tokens, n_prompt + 1)
    assert len(recorder.drafts) > 10


@pytest.mark.parametrize("n_common", [70, 330])
def test_what_goes_on_from_shared_pages_drafts_as_what_does_not(path, n_common):
    common = medusa.tokens(n_common, V, 1)
    prompt = common + medusa.tokens(30, V, 3)
    recorder, fresh = Recorder(3), Recorder(3)
    ask = {"max_tokens": 30, "ignore_eos": True, "temperature": 0.0}
    with llm(path, "medusa", recorder) as model:
        model.generate(prompt_tokens=common + medusa.tokens(10, V, 2), **ask)
        recorder.drafts.clear()
        stream = model.stream(prompt_tokens=prompt, **ask)
        found = stream.finish()
        assert stream._sequences[0].n_shared == (0 if model._engine.snapshots else n_common // PAGE * PAGE) or (
            model._engine.snapshots and stream._sequences[0].n_shared > 0
        )
    assert found.tokens == write(path, "medusa", fresh, prompt=prompt, n=30).tokens
    assert recorder.drafts == fresh.drafts


def test_equal_pages_are_shared_though_the_heads_have_none(path):
    prompt = medusa.tokens(200, V, 1)
    with llm(path, "medusa", FixedDepth(2), parallel=2) as model:
        ask = {"max_tokens": 20, "ignore_eos": True, "temperature": 0.0}
        stream = model.stream(prompt_tokens=[prompt, prompt], **ask)
        stream.finish()
        # Both were computed at once, and held one copy from then on.
        pages = [list(each.pages[: 200 // PAGE]) for each in stream._sequences]
        assert pages[0] == pages[1]
        memory = model._engine.memory
        assert not memory._ends and not any(memory._has_head)


def test_a_large_vocabulary_is_drafted_from_its_useful_part_and_what_the_text_has_used(tmp_path):
    path = tiny.write_tiny(tmp_path / "tiny.gguf", n_vocab=40000)
    path = medusa.with_heads(path, tmp_path / "large.gguf", K, size=0.1)
    rare = [30000, 31000, 25000]
    plain = write(path, "none", prompt=rare, n=24, temperature=1.0)
    recorder = Recorder(3)
    found = write(path, "medusa", recorder, prompt=rare, n=24, temperature=1.0)
    assert found.tokens == plain.tokens
    drafted = {token for draft in recorder.drafts for token in draft}
    low, high = size(40000) - HIGH - FREE, 40000 - HIGH
    assert drafted and all(t < low or t >= high or t in rare + found.tokens for t in drafted)


def test_who_is_asked_for_is_who_drafts(path, tmp_path):
    with llm(path, "auto", FixedDepth(2)) as model:
        assert model.settings.drafter == "suffix+medusa"
        assert "the file has Medusa heads" in model.settings.reasons["drafter"]
        ask = {"prompt_tokens": PROMPT, "max_tokens": 20, "ignore_eos": True, "temperature": 0.0}
        found = {name: model.generate(drafter=name, **ask) for name in ("none", "medusa", "suffix", "auto")}
        assert len({tuple(each.tokens) for each in found.values()}) == 1
        assert [each.speculation.drafter for each in found.values()] == ["none", "medusa", "suffix", "suffix+medusa"]
    with pytest.raises(ConfigError, match="no multi-token-prediction layer"):
        llm(path, "mtp")
    with pytest.raises(ConfigError, match="the file has no Medusa heads"):
        llm(tiny.write_tiny(tmp_path / "bare.gguf"), "medusa")
    # A file with both runs its MTP layer, unless it is asked for the other.
    both = tiny.write_tiny(tmp_path / "mtp.gguf", n_mtp=1)
    both = medusa.with_heads(both, tmp_path / "both.gguf", K)
    plain = write(both, "none")
    with llm(both, "auto", FixedDepth(2)) as model:
        assert model.settings.drafter == "suffix+mtp"
    for name in ("mtp", "medusa"):
        found = write(both, name, FixedDepth(3))
        assert found.tokens == plain.tokens and found.speculation.drafted > 0
        assert set(found.sources) <= {"", name}
