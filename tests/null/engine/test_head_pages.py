"""Prefix reuse of a plain transformer with a head: a hit drafts as a miss does, and nothing outlives its page."""

from pathlib import Path

import numpy as np
import pytest
from bench.random_gguf import write_random_llama
from tests.support.recorder import Recorder

from outpace.backends.reference import ReferenceBackend
from outpace.gguf.types import GGMLType
from outpace.graph.step import PAGE
from outpace.llm import LLM

SIZES = {"n_layers": 2, "d_model": 32, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "d_ff": 64, "vocab": 128}


# A head that is often right, and one whose guesses hang on all that it is shown.
@pytest.fixture(scope="module", params=["llama aligned", "qwen3 aligned", "llama random"])
def path(request, tmp_path_factory) -> Path:
    arch, kind = request.param.split()
    sizes = SIZES | {"context": 2048, "mtp": True, "mtp_aligned": 0.7 if kind == "aligned" else None, "tied": False}
    folder = tmp_path_factory.mktemp(kind)
    return write_random_llama(folder / f"{kind}.gguf", arch=arch, type=GGMLType.F32, **sizes)


class Desk:
    """A model, and what it was shown of its head's drafts."""

    def __init__(self, path: Path, depth: int, **options):
        self.policy = Recorder(depth)
        options = {"context": 1024, "spec_type": "mtp"} | options
        self.llm = LLM(path, backend=lambda _: ReferenceBackend(), policy=self.policy, **options)
        self.memory = self.llm._engine.memory

    def ask(self, prompt, n=40, **options):
        """Return the sequences of prompts, run to their end."""
        self.policy.drafts.clear()
        options = {"temperature": 0.0, "ignore_eos": True} | options
        stream = self.llm.stream(prompt_tokens=prompt, max_tokens=n, **options)
        stream.finish()
        # A page that can be taken says nothing of a head.
        assert all(self.memory._keys[page] is not None for page in self.memory._ends)
        return stream._sequences


def text(n: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, SIZES["vocab"], n).tolist()


@pytest.mark.parametrize("depth", [1, 3, 8])
@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {"temperature": 0.8, "seed": 3}], ids=["greedy", "sampled"])
@pytest.mark.parametrize("n_common", [70, 330])
def test_a_hit_drafts_as_a_miss(path, depth, sampling, n_common):
    common = text(n_common, 1)
    desk, fresh = Desk(path, depth), Desk(path, depth)
    desk.ask(common + text(10, 2), **sampling)
    prompt = common + text(30, 3)
    (found,), (expected,) = desk.ask(prompt, **sampling), fresh.ask(prompt, **sampling)
    assert (found.n_shared, expected.n_shared) == (n_common // PAGE * PAGE, 0)
    assert found.tokens == expected.tokens and found.head.first == expected.head.first == 0
    assert desk.policy.drafts == fresh.policy.drafts
    assert sum(found.record.accepted) > 0 or path.stem == "random"


def test_a_conversation_drafts_from_the_first_word_of_each_turn(path):
    desk, prompt = Desk(path, 3), text(50, 4)
    for turn, n in enumerate((101, 27, 140, 66)):
        fresh = Desk(path, 3)
        (found,), (expected,) = desk.ask(prompt, n), fresh.ask(prompt, n)
        assert found.tokens == expected.tokens and desk.policy.drafts == fresh.policy.drafts
        assert found.n_shared > 0 or turn == 0
        prompt = found.tokens + text(30, turn)


def test_prompts_of_a_batch_that_begin_alike(path):
    common = text(200, 1)
    prompts = [common + text(20 + i, i) for i in range(4)]
    desk = Desk(path, 3, parallel=2)
    together = desk.ask(prompts)
    assert together[-1].n_shared == 192
    for prompt, found in zip(prompts, together, strict=True):
        (alone,) = Desk(path, 3).ask(prompt)
        assert found.tokens == alone.tokens and found.record.accepted == alone.record.accepted


def test_pages_that_are_taken_again_are_forgotten(path):
    desk = Desk(path, 3, context=256)
    for seed in range(6):
        (found,) = desk.ask(text(120, seed), 100)
        assert found.n_shared == 0
    assert len(desk.memory._ends) <= desk.memory.n_pages
    # The first text is gone from memory, and what is in its pages now is not taken for it.
    (again,), (fresh,) = desk.ask(text(120, 0), 100), Desk(path, 3, context=256).ask(text(120, 0), 100)
    assert again.tokens == fresh.tokens and again.record.accepted == fresh.record.accepted


def test_without_the_head_nothing_is_kept_for_it(path):
    desk = Desk(path, 3)
    desk.ask(text(150, 1), drafter="none")
    assert not desk.memory._ends and not any(desk.memory._has_head)
    (found,) = desk.ask(text(150, 1) + text(20, 2), 200)
    assert found.n_shared == 128 and found.head.first == 128
    # Every round drafts, but the last where one token is left.
    assert found.record.rounds - found.record.drafted[0] <= 1
    assert sum(found.record.accepted) > 0 or path.stem == "random"


def test_what_is_kept_with_pages_is_told_before(path):
    desk = Desk(path, 2)
    desk.ask(text(400, 7), n=200)
    kept = desk.memory._ends.values()
    assert len(kept) >= 4 and {hidden.nbytes for hidden in kept} == {4 * SIZES["d_model"]}
    # Of the head's one layer keys and values in float32, and a hidden state.
    each = 2 * PAGE * SIZES["n_kv_heads"] * SIZES["head_dim"] * 4 + 4 * SIZES["d_model"]
    assert desk.llm.settings.memory.draft.kv_bytes == each * desk.memory.n_pages
