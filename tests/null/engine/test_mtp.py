"""P1 with the head of a hybrid model: what it drafts, however deep and in what company, changes no token."""

from pathlib import Path

import numpy as np
import pytest
from bench.random_hybrid import write_random_hybrid
from tests.support.recorder import Recorder
from tests.support.rewritten import rewritten

from outpace.backends.backend import Limits
from outpace.backends.reference import ReferenceBackend, alone
from outpace.errors import ConfigError
from outpace.gguf.file import open_gguf
from outpace.gguf.types import ValueType
from outpace.gguf.weights import Weights
from outpace.gguf.writer import Typed
from outpace.graph.cost import border_bytes
from outpace.graph.step import Segment, Step
from outpace.llm import LLM
from outpace.models import load_plan
from outpace.speculate import AutoDepth, FixedDepth, HeadState, StepCosts
from outpace.speculate.mtp import LEAST_WINDOW, MOST_WINDOW
from outpace.speculate.vocabulary import FREE, HIGH, LISTED, size

SMALL = {"d_model": 64, "head_dim": 16, "delta_dim": 16, "vocab": 300, "context": 2048, "rope_base": 1e4, "n_layers": 4}
PROMPT = [7, 8, 9, 10, 44, 5] * 4 + [1, 2, 3]
SAMPLED = {"temperature": 0.8, "seed": 3}
PENALISED = {"temperature": 0.7, "seed": 4, "repeat_penalty": 1.3, "presence_penalty": 0.5, "repeat_last_n": 16}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("hybrids")
    return {
        name: write_random_hybrid(folder / f"{name}.gguf", type="F32", mtp_aligned=aligned, **SMALL)
        for name, aligned in (("random", None), ("aligned", 0.7))
    }


def llm(path: Path, spec_type: str, policy=None, **options) -> LLM:
    options = {"context": 640, "kv_type": "f16"} | options
    return LLM(path, backend=lambda _: ReferenceBackend(), policy=policy, spec_type=spec_type, **options)


def write(path: Path, spec_type: str, policy=None, prompt=PROMPT, n=60, options=None, **sampling):
    with llm(path, spec_type, policy, **(options or {})) as model:
        return model.generate(prompt_tokens=prompt, max_tokens=n, ignore_eos=True, **({"temperature": 0.0} | sampling))


@pytest.mark.parametrize("name", ["random", "aligned"])
@pytest.mark.parametrize("sampling", [{}, SAMPLED, PENALISED], ids=["greedy", "sampled", "penalties"])
def test_any_depth_writes_what_plain_decoding_does(files, name, sampling):
    plain = write(files[name], "none", **sampling)
    for depth in (1, 2, 3, 5, 8):
        found = write(files[name], "mtp", FixedDepth(depth), **sampling)
        assert found.tokens == plain.tokens, depth
        assert found.speculation.drafted > 0
        assert set(found.sources) <= {"", "mtp"}
    both = write(files[name], "suffix+mtp", FixedDepth(4), **sampling)
    assert both.tokens == plain.tokens
    costs = StepCosts({1: 1.0, 2: 1.02, 4: 1.1, 8: 1.3, 16: 2.0})
    assert write(files[name], "auto", AutoDepth(costs, 8), **sampling).tokens == plain.tokens


def test_an_aligned_head_is_right_about_as_often_as_it_was_made_to_be(files):
    # Sampled, or the text would fall into a loop that the head is always or never right about.
    found = {name: write(path, "mtp", FixedDepth(3), n=300, temperature=1.0, top_k=0) for name, path in files.items()}
    assert 0.4 < found["aligned"].speculation.accepted_by_position[0] < 0.95
    assert found["random"].speculation.accepted_by_position[0] < 0.3


def test_a_sampled_text_is_drafted_with_its_own_noise(files):
    greedy = write(files["aligned"], "mtp", FixedDepth(1), n=150).speculation.accepted_by_position[0]
    sampled = write(files["aligned"], "mtp", FixedDepth(1), n=150, **SAMPLED).speculation.accepted_by_position[0]
    assert sampled > 0.7 * greedy


def test_a_batch_writes_what_each_writes_alone(files):
    random = np.random.default_rng(0)
    prompts = [random.integers(0, 300, n).tolist() for n in (5, 90, 1, 70, 33)]
    alone = [write(files["aligned"], "none", prompt=prompt, n=25, **SAMPLED).tokens for prompt in prompts]
    with llm(files["aligned"], "mtp", FixedDepth(3), parallel=3) as model:
        together = model.generate(prompt_tokens=prompts, max_tokens=25, ignore_eos=True, **SAMPLED)
    assert [each.tokens for each in together] == alone
    assert sum(each.speculation.accepted for each in together) > 0


def test_sequences_that_give_way_are_recomputed_to_the_same_text(files):
    prompts = [list(range(k, k + 40)) for k in (0, 60, 120)]
    alone = [write(files["aligned"], "none", prompt=prompt, n=70).tokens for prompt in prompts]
    with llm(files["aligned"], "mtp", FixedDepth(3), parallel=3, context=128) as model:
        # Room for two of the three, but not at their full length.
        taken = [model._engine.memory._take() for _ in range(3)]
        together = model.generate(prompt_tokens=prompts, max_tokens=70, ignore_eos=True, temperature=0.0)
        assert model._engine.scheduler.n_preempted > 0
        assert taken
    assert [each.tokens for each in together] == alone


def test_of_a_long_prompt_the_head_reads_the_end_and_the_text_is_the_same(files):
    prompt = np.random.default_rng(5).integers(0, 300, 900).tolist()
    options = {"context": 1024}
    plain = write(files["aligned"], "none", prompt=prompt, n=40, options=options)
    found = write(files["aligned"], "mtp", FixedDepth(3), prompt=prompt, n=40, options=options)
    assert found.tokens == plain.tokens
    assert found.speculation.accepted > 0
    state = HeadState(900, 4)
    assert state.first == 512 and state.hidden_from == 511 and 900 - state.first >= LEAST_WINDOW
    for n in (0, 255, 256, 511, 512, 2048, 5000, 262144):
        shown = n - HeadState(n, 4).first
        # An eighth of it within the bounds, and less than a chunk more.
        least = min(max(n // 8, LEAST_WINDOW), MOST_WINDOW)
        assert min(n, least) <= shown < least + 1 + 256


def test_a_head_is_asked_for_by_request_too(files):
    with llm(files["aligned"], "auto", FixedDepth(2)) as model:
        assert model.settings.drafter == "suffix+mtp"
        ask = {"prompt_tokens": PROMPT, "max_tokens": 20, "ignore_eos": True, "temperature": 0.0}
        found = {name: model.generate(drafter=name, **ask) for name in ("none", "draft-mtp", "suffix", "auto")}
        assert len({tuple(each.tokens) for each in found.values()}) == 1
        assert [each.speculation.drafter for each in found.values()] == ["none", "mtp", "suffix", "suffix+mtp"]
        assert found["none"].speculation.drafted == 0 < found["draft-mtp"].speculation.drafted
        with pytest.raises(ConfigError, match="did you mean"):
            model.generate(drafter="mpt", **ask)


def test_a_head_that_never_agrees_is_dropped(files):
    costs = StepCosts({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0, 16: 1.0})
    policy = AutoDepth(costs, 4)
    policy.prospect.observe(1, 0)
    assert not policy.prospect.is_dead
    for _ in range(60):
        policy.prospect.observe(1, 0)
    assert policy.prospect.is_dead
    with llm(files["aligned"], "mtp", policy) as model:
        first, last = (model.stream(prompt_tokens=PROMPT, max_tokens=20, ignore_eos=True) for _ in range(2))
        first, second = first.finish(), last.finish()
        # Nothing more is done for it.
        assert last._sequences[0].head is None
    assert first.speculation.drafted == second.speculation.drafted == 0
    assert any("never guessed right" in note for note in first.notes) and not second.notes


def test_a_file_without_a_head_says_so(tmp_path):
    path = write_random_hybrid(tmp_path / "none.gguf", type="F32", n_mtp=0, **SMALL)
    with pytest.raises(ConfigError, match="no multi-token-prediction layer"):
        llm(path, "mtp")
    with llm(path, "auto") as model:
        assert model.settings.drafter == "suffix"


@pytest.mark.parametrize(("n_prompt", "n_shared"), [(27, 0), (700, 0), (350, 320), (700, 640)])
def test_drafts_are_those_of_a_head_shown_at_once_all_that_there_is_for_it(files, n_prompt, n_shared):
    prompt, depth = np.random.default_rng(6).integers(0, 300, n_prompt).tolist(), 3
    recorder = Recorder(depth)
    with llm(files["random"], "mtp", recorder, context=768) as model:
        ask = {"ignore_eos": True, "temperature": 0.0}
        if n_shared:
            model.generate(prompt_tokens=prompt[: n_shared + 10], max_tokens=1, drafter="none", **ask)
        stream = model.stream(prompt_tokens=prompt, max_tokens=30, **ask)
        found = stream.finish()
        assert stream._sequences[0].n_shared == n_shared
    text = prompt + found.tokens
    with open_gguf(files["random"]) as file:
        model = load_plan(file)
        # Pages that were filled without the head are not for it: it begins after them, as if the text did.
        first = n_shared or HeadState(n_prompt, 1).first
        trunk = alone(file, text)
        model.definition.trunk(trunk, Weights(file), model.config)
        before = np.concatenate([np.zeros((1, SMALL["d_model"]), np.float32), trunk.outputs["hidden"]])
        before[n_shared] = 0
        limits = Limits(len(text), len(text), 16, "f16")
        pages = np.arange(16, dtype=np.int32)
        at = n_prompt + 1
        for draft in recorder.drafts:
            head = ReferenceBackend().compile(model.plan, file, limits, model.draft).draft
            row, hidden, guesses = first, before[first:at], []
            tokens = text[first:at]
            while len(guesses) < len(draft):
                last = [len(tokens) - 1]
                segment = Segment(row, len(tokens), pages, first=first)
                result = head.run(Step(tokens, [segment], last, last, hidden))
                row, hidden, tokens = row + len(tokens), result.hidden.copy(), [int(result.logits[0].argmax())]
                guesses += tokens
            assert draft == guesses, at
            at += 1 + next((i for i, (a, b) in enumerate(zip(draft, text[at:], strict=False)) if a != b), len(draft))
    assert len(recorder.drafts) > 20


def test_a_large_vocabulary_is_drafted_from_its_useful_part_and_what_the_text_has_used(tmp_path):
    sizes = SMALL | {"vocab": 40000, "n_layers": 2}
    path = write_random_hybrid(tmp_path / "large.gguf", type="F32", mtp_aligned=0.9, **sizes)
    rare = [30000, 31000, 25000]
    plain = write(path, "none", prompt=rare, n=24, temperature=1.0)
    recorder = Recorder(3)
    found = write(path, "mtp", recorder, prompt=rare, n=24, temperature=1.0)
    assert found.tokens == plain.tokens
    drafted = {token for draft in recorder.drafts for token in draft}
    low, high = size(40000) - HIGH - FREE, 40000 - HIGH
    assert all(t < low or t >= high or t in rare + found.tokens for t in drafted)
    assert found.speculation.accepted > 0


def test_where_the_file_lists_tokens_those_are_drafted_and_what_the_text_has_used(tmp_path):
    sizes = SMALL | {"vocab": 12000, "n_layers": 2}
    path = write_random_hybrid(tmp_path / "large.gguf", type="F32", mtp_aligned=0.9, **sizes)
    listed = list(range(11999, 12000 - LISTED - 100, -1))
    known = rewritten(path, tmp_path, {"qwen35.nextn_draft_tokens": Typed(ValueType.INT32, listed)})
    plain = write(path, "none", prompt=[30, 310], n=24, temperature=1.0)
    recorder = Recorder(3)
    found = write(known, "mtp", recorder, prompt=[30, 310], n=24, temperature=1.0)
    assert found.tokens == plain.tokens and found.speculation.accepted > 0
    drafted = {token for draft in recorder.drafts for token in draft}
    assert any(token >= 12000 - LISTED for token in drafted)
    assert all(token >= 12000 - LISTED or token in [30, 310, *found.tokens] for token in drafted)


def test_all_of_a_rounds_time_is_told_to_the_policy_once(files, monkeypatch):
    now = 0.0

    def passes(seconds: float) -> None:
        nonlocal now
        now += seconds

    class Told(FixedDepth):
        rounds, seconds = 0, 0.0

        def ahead(self, *given):
            passes(1.0)
            return super().ahead(*given)

        def rule(self):
            passes(10.0)
            return super().rule()

        def drafted(self, steps, read_s):
            passes(100.0)
            self.seconds += read_s + sum(seconds for _, seconds in steps)

        def observe(self, draft, n_verified, n_kept):
            passes(1000.0)

        def timed(self, n_rows, n_drafted, n_kept, seconds):
            self.rounds += 1
            self.seconds += seconds

    for module in ("engine.engine", "speculate.guesses"):
        monkeypatch.setattr(f"outpace.{module}.perf_counter", lambda: now)
    policy = Told(3)
    with llm(files["aligned"], "mtp", policy) as model:
        step, total = model._engine.step, 0.0

        def timed_step():
            nonlocal total
            began, n = now, policy.rounds
            feeds = step()
            total += (now - began) * (policy.rounds - n)
            return feeds

        monkeypatch.setattr(model._engine, "step", timed_step)
        model.generate(prompt_tokens=PROMPT, max_tokens=30, ignore_eos=True)
    assert policy.rounds > 5 and total > 1000 * policy.rounds
    assert policy.seconds == total


def test_a_hybrid_keeps_hidden_states_in_its_snapshots_alone(files):
    with llm(files["aligned"], "mtp", FixedDepth(2)) as model:
        prompt = np.random.default_rng(8).integers(0, 300, 300).tolist()
        model.generate(prompt_tokens=prompt, max_tokens=150, ignore_eos=True)
        engine = model._engine
        assert any(each.hidden is not None for each in engine.snapshots._kept.values())
        assert not engine.proposer._ends and not engine.memory._ends
        with open_gguf(files["aligned"]) as file:
            found = load_plan(file)
        assert border_bytes(found.plan, found.draft) == 0
