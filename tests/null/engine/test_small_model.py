"""P1 with a separate draft model, and what it drafts: what that model itself would write next, whatever came before.

Where the draft model is the model itself every guess is right, so its acceptance tells whether all rows in its cache
are those of the text.
"""

import math
from pathlib import Path

import numpy as np
import pytest
from bench.random_gguf import write_random_llama
from tests.support import tiny
from tests.support.rewritten import read, rewritten

from outpace.backends.reference import ReferenceBackend
from outpace.errors import ConfigError, ModelFileError, UnsupportedError
from outpace.gguf.file import open_gguf
from outpace.gguf.types import GGMLType, ValueType
from outpace.gguf.writer import Typed, write_gguf
from outpace.graph.step import PAGE
from outpace.llm import LLM
from outpace.speculate import AutoDepth, FixedDepth, StepCosts

PROMPT = [7, 8, 9, 10, 44, 5] * 3 + [1, 2, 3]
SAMPLED = {"temperature": 0.8, "seed": 3}
PENALISED = {"temperature": 0.7, "seed": 4, "repeat_penalty": 1.3, "presence_penalty": 0.5, "repeat_last_n": 16}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    at = tmp_path_factory.mktemp("models")
    return {
        "model": tiny.write_tiny(at / "model.gguf"),
        "other": tiny.write_tiny(at / "other.gguf", "qwen3", seed=5, n_layers=1, d_model=16),
        "hybrid": tiny.write_tiny(at / "hybrid.gguf", "qwen35", seed=6),
    }


def llm(path: Path, draft: Path | None, policy=None, spec_type="auto", **options) -> LLM:
    options = {"context": 320} | options
    backend = lambda _: ReferenceBackend()  # noqa: E731
    return LLM(path, draft_model=draft, backend=backend, policy=policy, spec_type=spec_type, **options)


def write(model: LLM, prompt=PROMPT, n=40, **options):
    options = {"temperature": 0.0, "ignore_eos": True} | options
    return model.generate(prompt_tokens=prompt, max_tokens=n, **options)


def text(n: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, 64, n).tolist()


@pytest.mark.parametrize("sampling", [{}, SAMPLED, PENALISED], ids=["greedy", "sampled", "penalties"])
@pytest.mark.parametrize("name", ["model", "other"])
def test_any_depth_writes_what_plain_decoding_does(files, name, sampling):
    costs = StepCosts({1: 1.0, 2: 1.02, 4: 1.1, 8: 1.3, 16: 2.0})
    with llm(files["model"], files[name]) as model:
        assert model.settings.drafter == "suffix+draft"
        plain = write(model, drafter="none", **sampling)
        for drafter, policy in (
            ("draft", FixedDepth(1)),
            ("draft-simple", FixedDepth(3)),
            ("draft", FixedDepth(8)),
            ("suffix+draft", FixedDepth(4)),
            ("auto", AutoDepth(costs, 8)),
        ):
            model.policy = policy
            found = write(model, drafter=drafter, **sampling)
            assert found.tokens == plain.tokens, drafter
            assert found.speculation.drafted > 0
            assert set(found.sources) <= {"", "suffix", "draft"}
            if name == "model" and drafter.startswith("draft"):
                # The same noise on the same logits.
                assert found.speculation.accepted == found.speculation.drafted


class Fickle(FixedDepth):
    """Lets drafts be made now and then, of any length, and verifies any part of them."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.random = np.random.default_rng(0)

    def ahead(self, drafts, is_ready, n_rows, room):
        return [int(self.random.integers(0, n + 1)) for n in super().ahead(drafts, is_ready, n_rows, room)]

    def choose(self, drafts, n_rows, room):
        return [int(self.random.integers(0, n + 1)) for n in super().choose(drafts, n_rows, room)]


@pytest.mark.parametrize("policy", [FixedDepth(1), FixedDepth(4), Fickle(5)], ids=["1", "4", "fickle"])
def test_drafts_are_what_the_draft_model_writes(files, policy):
    found = []
    with llm(files["model"], files["other"], policy, "draft") as model:
        draft = model._speculator.draft

        def recorded(asks, *args):
            given = draft(asks, *args)
            found.extend((list(ask.tokens), list(each.tokens)) for ask, each in zip(asks, given.drafts, strict=True))
            return given

        model._speculator.draft = recorded
        result = write(model, n=60, temperature=1.0)
    with llm(files["other"], None, spec_type="none") as alone:
        for tokens, guesses in found:
            assert guesses == write(alone, tokens, n=len(guesses), temperature=1.0).tokens, len(tokens)
    # Both right and wrong guesses are gone on from.
    assert len(found) > 10 and 0 < result.speculation.accepted < result.speculation.drafted


@pytest.mark.parametrize("kv_type", ["f16", "q8_0", "q4_0"])
def test_a_long_prompt_is_read_when_there_is_something_to_draft(files, kv_type):
    prompt = text(250, 1)
    with llm(files["model"], files["model"], FixedDepth(3), "draft", kv_type=kv_type) as model:
        steps = []
        program = model._speculator._program
        catch_up = program.catch_up
        program.catch_up = lambda step: (steps.append(len(step.tokens)), catch_up(step))
        plain = write(model, prompt, n=20, drafter="none")
        stream = model.stream(prompt_tokens=prompt[:200], max_tokens=1)
        stream.finish()
        assert not steps
        found = write(model, prompt, n=20)
    assert found.tokens == plain.tokens
    assert sum(steps) == 250 and found.speculation.accepted == found.speculation.drafted > 10


@pytest.mark.parametrize("name", ["model", "other"])
def test_a_batch_in_small_steps_writes_what_each_writes_alone(files, name):
    prompts = [text(n, n) for n in (5, 90, 1, 70)]
    with llm(files["model"], files[name], FixedDepth(3), "draft", parallel=3, spec_draft_n_max=3) as model:
        alone = [write(model, prompt, n=20, drafter="none", **SAMPLED).tokens for prompt in prompts]
        model._engine.scheduler.max_rows = 24
        model._speculator._max_rows = 40
        together = write(model, prompts, n=20, **SAMPLED)
    assert [each.tokens for each in together] == alone
    accepted, drafted = (sum(getattr(each.speculation, what) for each in together) for what in ("accepted", "drafted"))
    assert accepted == drafted if name == "model" else accepted < drafted


@pytest.mark.parametrize("finds", [True, False], ids=["pages found again", "nothing found"])
def test_sequences_that_give_way_are_recomputed(files, finds):
    prompts = [list(range(k, k + 40)) for k in (0, 10, 20)]
    with llm(files["model"], files["model"], FixedDepth(3), "draft", parallel=3, context=128) as model:
        alone = [write(model, prompt, n=70, drafter="none").tokens for prompt in prompts]
        model._engine.memory = type(model._engine.memory)(6)
        model._engine.scheduler.memory = model._engine.proposer._memory = model._engine.memory
        if not finds:
            model._engine.memory._known = lambda _: []
        taken = [model._engine.memory._take() for _ in range(3)]
        together = write(model, prompts, n=70)
        assert model._engine.scheduler.n_preempted > 0 and taken
    assert [each.tokens for each in together] == alone
    assert all(each.speculation.accepted == each.speculation.drafted > 0 for each in together)


@pytest.mark.parametrize("before", ["draft", "none"])
def test_pages_of_others_are_read_where_nobody_has(files, before):
    common = text(150, 2)
    with llm(files["model"], files["model"], FixedDepth(3), "draft", parallel=2) as model:
        first = write(model, common + text(10, 3), n=60, drafter=before)
        program, shown = model._speculator._program, []
        catch_up = program.catch_up
        program.catch_up = lambda step: (shown.append(step.segments[0].start), catch_up(step))
        stream = model.stream(prompt_tokens=common + text(30, 4), max_tokens=40, temperature=0.0, ignore_eos=True)
        found = stream.finish()
        assert stream._sequences[0].n_shared == 2 * PAGE
        # What is in the pages is not read again; what is not is.
        assert shown == [2 * PAGE if before == "draft" else 0]
        turn = common + text(10, 3) + first.tokens + text(20, 5)
        again = write(model, turn, n=30)
        assert again.tokens == write(model, turn, n=30, drafter="none").tokens
    for each in (found, again):
        assert each.speculation.accepted == each.speculation.drafted > 0


def test_heads_in_either_file_are_left_alone(files, tmp_path):
    headed = tiny.write_tiny(tmp_path / "headed.gguf", seed=9, n_mtp=1)
    for one, other in ((headed, files["other"]), (files["model"], headed), (headed, headed)):
        with llm(one, other, FixedDepth(3)) as model:
            assert model.settings.drafter == "suffix+draft"
            found = write(model, drafter="draft", **SAMPLED)
            assert found.tokens == write(model, drafter="none", **SAMPLED).tokens
            assert found.speculation.drafted > 0
            assert one is not other or found.speculation.accepted == found.speculation.drafted
            with pytest.raises(ConfigError, match=r"the model runs with suffix\+draft, and has no other"):
                write(model, drafter="mtp")
    with llm(headed, files["other"], spec_type="mtp") as model:
        assert model._speculator.name == "mtp"


def test_for_a_model_with_recurrent_layers(files):
    with llm(files["hybrid"], files["other"], FixedDepth(3), "draft") as model:
        common = text(150, 7)
        for prompt in (PROMPT, common, common + text(20, 8)):
            found = write(model, prompt, n=30, **SAMPLED)
            assert found.tokens == write(model, prompt, n=30, drafter="none", **SAMPLED).tokens
            assert found.speculation.drafted > 0


def test_beyond_its_own_context_it_drafts_nothing_and_says_so_once(files, tmp_path):
    short = rewritten(files["model"], tmp_path, {"llama.context_length": 48})
    with llm(files["model"], short, FixedDepth(3), "draft") as model:
        found = [write(model, n=60) for _ in range(2)]
        plain = write(model, n=60, drafter="none")
    for each in found:
        assert each.tokens == plain.tokens
        last = max(i for i, source in enumerate(each.sources) if source)
        assert len(PROMPT) + last == 48 and each.speculation.accepted == each.speculation.drafted
    assert any("trained for a context of 48 tokens" in note for note in found[0].notes) and not found[1].notes


def test_a_draft_model_that_never_agrees_is_dropped(files):
    policy = AutoDepth(StepCosts({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0, 16: 1.0}), 4)
    for _ in range(60):
        policy.prospect.observe(1, 0)
    with llm(files["model"], files["other"], policy, "draft") as model:
        first, second = (write(model, n=10) for _ in range(2))
    assert first.speculation.drafted == second.speculation.drafted == 0
    assert any(note.startswith("the draft model never guessed right") for note in first.notes) and not second.notes


def test_what_it_takes_is_told(files):
    backend = ReferenceBackend()
    with llm(files["model"], files["other"], spec_type="draft") as model:
        memory, limits = model.settings.memory, model.settings.limits
        small = llm(files["other"], None, spec_type="none").settings.memory
        assert memory.draft.weights_bytes == small.weights_bytes
        assert memory.draft.kv_bytes == small.kv_bytes
        assert memory.total_bytes - memory.mtp_bytes == backend.memory(*_plan(files["model"]), limits).total_bytes
    with llm(files["model"], files["other"], spec_type="suffix") as model:
        assert model.settings.memory.draft is None and model._speculator is None
        with pytest.raises(ConfigError, match="drafter is 'draft'; expected one that was loaded"):
            write(model, drafter="draft")


def _plan(path: Path):
    from outpace.gguf.file import open_gguf
    from outpace.models import load_plan

    with open_gguf(path) as file:
        return (load_plan(file).plan,)


def test_what_cannot_draft_is_refused(files, tmp_path):
    with pytest.raises(UnsupportedError, match="drafting with a model of recurrent layers"):
        llm(files["model"], files["hybrid"])
    with pytest.raises(ConfigError, match="no draft model was given"):
        llm(files["model"], None, spec_type="draft")
    wider = tiny.write_tiny(tmp_path / "wider.gguf", n_vocab=65)
    with pytest.raises(ModelFileError) as caught:
        llm(files["model"], wider)
    assert (
        str(caught.value) == f"{wider}: its vocabulary: the draft model is for 65 tokens, and {files['model']} has 64"
    )
    lacking = rewritten(files["other"], tmp_path, without="blk.0.attn_k.weight")
    with pytest.raises(ModelFileError, match=r"changed\.gguf: tensor 'blk\.0\.attn_k\.weight': the file does not"):
        llm(files["model"], lacking)


SIZES = {"n_layers": 1, "d_model": 32, "n_heads": 2, "n_kv_heads": 1, "head_dim": 16, "d_ff": 32, "type": GGMLType.F32}


@pytest.mark.parametrize("n", [600, 30000], ids=["whole", "trimmed"])
def test_a_vocabulary_filled_up_to_another_size(tmp_path, n):
    plain = write_random_llama(tmp_path / "plain.gguf", vocab=n, tied=False, **SIZES)
    with open_gguf(plain) as file:
        types = file.metadata.ints("tokenizer.ggml.token_type").tolist()
    keys, held = read(plain)
    tokens = keys["tokenizer.ggml.tokens"]
    keys["tokenizer.ggml.tokens"] = Typed(ValueType.STRING, [*tokens.value, *(f"[PAD{i}]" for i in range(16))])
    keys["tokenizer.ggml.token_type"] = Typed(ValueType.INT32, types + [5] * 16)
    keys.pop("llama.vocab_size", None)
    for name in ("token_embd.weight", "output.weight"):
        rows = held[name][2].view(np.float32).reshape(n, -1)
        # The rows of no token: large enough to be guessed, if they could be.
        more = np.concatenate([rows, 3 * rows[-16:]])
        held[name] = GGMLType.F32, more.shape, more
    write_gguf(tmp_path / "filled.gguf", keys, held)
    filled = tmp_path / "filled.gguf"
    prompt = [7, n - 3, 9, n - 40, 44]
    for one, other in ((plain, filled), (filled, plain)):
        with llm(one, other, FixedDepth(3), "draft") as model:
            seen, draft = [], model._speculator.draft

            def seeing(*args, seen=seen, draft=draft):
                found = draft(*args)
                seen.extend(found.drafts)
                return found

            model._speculator.draft = seeing
            # A model knows not to write them; one of random numbers must be told.
            options = SAMPLED | {"logit_bias": tuple((n + i, -math.inf) for i in range(16) if one is filled)}
            found = write(model, prompt, n=24, **options)
            assert found.tokens == write(model, prompt, n=24, drafter="none", **options).tokens
            assert all(token < n for each in seen for token in each.tokens)
            assert found.speculation.accepted > 0
            if one is filled:
                # A token that the draft model has no row for: from there on it is not asked.
                strange = write(model, [*prompt, n + 2, 5], n=24)
                assert strange.speculation.drafted == 0
                assert strange.tokens == write(model, [*prompt, n + 2, 5], n=24, drafter="none").tokens
