"""A chain of guesses in one native call is what asking Python between two guesses gives: as many, the same, as sure."""

import math

import numpy as np
import pytest
from bench.random_hybrid import write_random_hybrid
from tests.support.rewritten import rewritten

from outpace import LLM
from outpace.errors import BackendError
from outpace.gguf.types import ValueType
from outpace.gguf.writer import Typed
from outpace.sampling import Sampler, SamplingParams
from outpace.speculate import FixedDepth
from outpace.speculate.calibration import CLASSES
from outpace.speculate.drafter import NOTHING
from outpace.speculate.mtp import HeadState
from outpace.speculate.rule import Rule
from outpace.speculate.speculator import Ask
from outpace.speculate.vocabulary import LISTED

MOST, VOCAB = 6, 8000
PROMPT = [7, 8, 9, 10, 44, 5] * 4 + [1, 2, 3]
SAMPLED = {"temperature": 0.8, "seed": 3}
RULES = {
    "ever": lambda rng: FixedDepth(MOST).rule(),
    "never": lambda rng: Rule(()),
    "up to three": lambda rng: Rule((0.3,) * MOST, (0.9,) * (CLASSES + 1), surest=0.6),
    "as worth says": lambda rng: Rule(
        (10.0 ** rng.uniform(-6, 0, MOST - 1)).tolist(), rng.uniform(-0.1, 0.3, CLASSES + 1)
    ),
    "while likely": lambda rng: Rule((0.0,) * MOST, p_min=10.0 ** rng.uniform(-6, 0)),
}
# Steps of the longest draft, where a rule leaves no doubt.
LONGEST = {"ever": MOST, "never": 1, "up to three": 3}


class Ruled(FixedDepth):
    """Draws a rule for each round, the same ones again for the same seed."""

    def __init__(self, kind: str) -> None:
        super().__init__(MOST)
        self._rng, self._kind = np.random.default_rng(5), kind

    def rule(self) -> Rule:
        return RULES[self._kind](self._rng)


@pytest.fixture(scope="module", params=["whole", "trimmed", "listed"])
def path(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chain")
    sizes = {"d_model": 64, "head_dim": 16, "delta_dim": 16, "n_layers": 2, "context": 1024}
    vocab = 300 if request.param == "whole" else 40000 if request.param == "trimmed" else VOCAB
    made = write_random_hybrid(folder / "made.gguf", type="Q8_0", mtp_aligned=0.9, vocab=vocab, **sizes)
    if request.param != "listed":
        return made
    listed = [*range(VOCAB - LISTED, VOCAB - 5), *range(5)]
    return rewritten(made, folder, {"qwen35.nextn_draft_tokens": Typed(ValueType.INT32, listed)})


def written(path, policy, *, is_native: bool, prompt=PROMPT, **sampling):
    """Return the tokens of an answer, and of each call of the head its guesses, chances and number of steps."""
    calls = []
    with LLM(path, context=640, kv_type="f16", spec_type="mtp", policy=policy) as model:
        head = model._speculator
        assert head._program.native is not None
        if not is_native:
            head._program.native = None
        draft = head.draft

        def recorded(asks, rule):
            found = draft(asks, rule)
            calls.append(([tuple(each) for each in found.drafts], [n for n, _ in found.steps]))
            return found

        head.draft = recorded
        ask = {"temperature": 0.0} | sampling
        return model.generate(prompt_tokens=prompt, max_tokens=40, ignore_eos=True, **ask).tokens, calls


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_one_call_guesses_what_a_call_for_each_guess_does(path, kind, sampling):
    native, twin = (written(path, Ruled(kind), is_native=each, **sampling) for each in (True, False))
    assert native == twin
    lengths = {len(steps) for _, steps in native[1]}
    assert max(lengths) == LONGEST[kind] if kind in LONGEST else len(lengths) > 2, lengths


def test_where_no_token_is_allowed_the_chain_ends(path):
    with LLM(path, context=640, spec_type="mtp") as model:
        head, n_vocab = model._speculator, model._executable.n_vocab
        none = SamplingParams(logit_bias=tuple((token, -math.inf) for token in range(n_vocab)))
        sampler = Sampler(none, n_vocab)
        state, asked = head.state(2), []
        state.learn(0, np.ones((2, head.width), np.float32))

        def guess(logits, tokens, guesses):
            asked.append(guesses)
            return sampler.guess(logits, tokens, 3)

        ask = Ask(state, [5, 6, 7], np.arange(4, dtype=np.int32), 3, guess, sampler.chain)
        (draft,), steps, _ = head.draft([ask], RULES["ever"](None))
        assert draft == NOTHING and len(steps) == 1 and asked == [[]]


def test_logits_that_are_no_numbers_end_the_drafting_and_not_the_text(path, monkeypatch):
    text = written(path, FixedDepth(2), is_native=True)[0]
    rows = HeadState.rows
    monkeypatch.setattr(
        HeadState, "rows", lambda self, *to: (rows(self, *to)[0], rows(self, *to)[1] * np.float32("nan"))
    )
    for is_native in (True, False):
        with LLM(path, context=640, spec_type="mtp", policy=FixedDepth(2)) as model:
            head, raised = model._speculator, []
            if not is_native:
                head._program.native = None
            draft = head.draft

            def watched(asks, rule, draft=draft, raised=raised):
                with pytest.raises(BackendError, match="NaN") as caught:
                    draft(asks, rule)
                raised.append(caught.value)
                raise caught.value

            head.draft = watched
            ask = {"prompt_tokens": PROMPT, "max_tokens": 40, "ignore_eos": True, "temperature": 0.0}
            first, second = model.generate(**ask), model.generate(**ask)
        assert first.tokens == second.tokens == text
        assert first.speculation.drafted == 0 and len(raised) == 1
        assert any("wrote what is no number, so it is not used any more" in note for note in first.notes)
        assert not second.notes


def test_only_a_sampler_that_looks_at_no_tokens_before_guesses_on_by_itself():
    assert Sampler(SamplingParams(), 300).chain is not None
    assert Sampler(SamplingParams(repeat_penalty=1.2), 300).chain is None
    assert Sampler(SamplingParams(), 300, reference=True).chain is None


def test_what_does_not_fit_is_refused_before_anything_runs(path):
    with LLM(path, context=640, spec_type="mtp") as model:
        program, logits, exported = model._speculator._program.native
        width, before = model._speculator.width, program.run_s
        rest = {"start": 0, "pages": np.arange(4, dtype=np.int32), "first": 0, "tokens": None, "most": 2}
        good = {"rows": [1, 2], "hidden": np.zeros((2, width), np.float32), "rule": Rule((0.0,))} | rest
        chain = Sampler(SamplingParams(), model._executable.n_vocab).chain
        for wrong, why in (
            ({"rows": [1]}, "for each row"),
            ({"rows": []}, "for each row"),
            ({"rule": Rule((0.0,), shifts=())}, "by a rule"),
            ({"tokens": np.zeros(0, np.int32)}, "some tokens"),
            ({"hidden": np.zeros((2, width - 1), np.float32)}, "hidden state"),
            ({"first": 64}, "attention begins"),
            ({"pages": np.zeros(0, np.int32)}, "too short"),
        ):
            with pytest.raises(ValueError, match=why):
                chain(program, logits, exported, **good | wrong)
        for at in (-1, 1 << 60):
            with pytest.raises(ValueError, match="out of range"):
                chain(program, at, exported, **good)
            with pytest.raises(ValueError, match="out of range"):
                chain(program, logits, at, **good)
        assert program.run_s == before
