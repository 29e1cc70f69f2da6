"""The Python API on a tiny model over the reference backend."""

import numpy as np
import pytest
from tests.support.tiny import write_speaking, write_tiny

import outpace
from outpace.backends.reference import ReferenceBackend
from outpace.errors import ConfigError, RequestError
from outpace.llm import LLM
from outpace.sampling.params import SamplingParams
from outpace.speculate import FixedDepth


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    template = "{% for m in messages %}{{ m.content }}{% endfor %}hello"
    return write_speaking(tmp_path_factory.mktemp("llm") / "tiny.gguf", seed=3, template=template)


def load(path, **options) -> LLM:
    return LLM(path, backend=lambda threads: ReferenceBackend(), **options)


@pytest.fixture(scope="module")
def llm(path):
    with load(path, parallel=3) as found:
        yield found


@pytest.fixture(scope="module")
def plain(path):
    with load(path, spec_type="none") as found:
        yield found


def test_the_package_offers_it():
    assert outpace.LLM is LLM
    assert outpace.SamplingParams is SamplingParams
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = outpace.Nothing


def test_a_result_has_text_tokens_and_a_record(llm):
    result = llm.generate("hello hello hello", max_tokens=30, temperature=0, ignore_eos=True)
    assert result.finish_reason == "length"
    assert len(result.tokens) == len(result.sources) == 30
    assert result.text == llm.tokenizer.decode(result.tokens, skip_special=True)
    found = result.as_json()
    assert list(found) == ["text", "tokens", "finish_reason", "timings", "speculation"]
    assert list(found["timings"]) == ["load_s", "prompt_n", "prompt_per_s", "predicted_n", "predicted_per_s"]
    assert list(found["speculation"]) == [
        "drafter",
        "rounds",
        "drafted",
        "accepted",
        "tokens_per_round",
        "accepted_by_position",
        "drafted_by_position",
    ]
    assert found["speculation"]["drafter"] == "suffix"
    assert found["timings"]["prompt_n"] == len(llm.tokenizer.encode("hello hello hello"))
    assert found["timings"]["predicted_n"] == 30
    record = result.speculation
    assert record.rounds + record.accepted == 29
    assert record.tokens_per_round == 29 / record.rounds


@pytest.mark.parametrize(
    "sampling", [{"temperature": 0}, {"temperature": 0.8}, {"temperature": 1.2, "seed": 7, "repeat_penalty": 1.3}]
)
def test_any_setting_of_the_run_writes_the_same(llm, plain, path, sampling):
    prompts = ["hello hello hello", "say 123 123 12", "é"]
    options = {"max_tokens": 24, "ignore_eos": True, **sampling}
    alone = [plain.generate(prompt, **options).tokens for prompt in prompts]
    assert [each.tokens for each in llm.generate(prompts, **options)] == alone
    with load(path, parallel=2, policy=FixedDepth(4)) as forced:
        results = forced.generate(prompts, **options)
    assert [each.tokens for each in results] == alone


def test_measuring_steps_within_an_answer_changes_nothing(plain, path):
    options = {"max_tokens": 40, "temperature": 0, "ignore_eos": True}
    expected = [plain.generate(prompt, **options).tokens for prompt in ("hello hello hello", "say 123 123 12")]
    with load(path, parallel=2) as fresh:
        guessed = fresh._engine.policy.costs
        found = fresh.generate(["hello hello hello", "say 123 123 12"], **options)
        assert fresh._engine.policy.costs is not guessed
    assert [each.tokens for each in found] == expected


def test_streamed_pieces_join_to_the_result(llm):
    stream = llm.stream(["hello", "12 12 12"], max_tokens=20, temperature=1.0, ignore_eos=True)
    pieces = list(stream)
    for i, result in enumerate(stream.results):
        own = [piece for piece in pieces if piece.index == i]
        assert "".join(piece.text for piece in own) == result.text
        assert [token for piece in own for token in piece.tokens] == result.tokens
        assert [source for piece in own for source in piece.sources] == result.sources


def test_tokens_in_place_of_text(llm):
    tokens = llm.tokenizer.encode("hello")
    options = {"max_tokens": 5, "temperature": 0}
    text = llm.generate("hello", **options)
    assert llm.generate(prompt_tokens=tokens, **options).tokens == text.tokens
    assert llm.generate(prompt_tokens=np.array(tokens), **options).tokens == text.tokens
    both = llm.generate(prompt_tokens=[tokens, tokens], **options)
    assert [each.tokens for each in both] == [text.tokens] * 2


def test_chat_goes_through_the_template(llm):
    options = {"max_tokens": 5, "temperature": 0}
    answer = llm.chat([{"role": "user", "content": "say "}], **options)
    assert answer.tokens == llm.generate("say hello", **options).tokens


def test_stop_strings_and_stop_tokens(llm):
    options = {"max_tokens": 40, "temperature": 0, "ignore_eos": True}
    whole = llm.generate("hello", **options)
    stop = whole.text[8:10]
    cut = llm.generate("hello", stop=stop, **options)
    assert cut.finish_reason == "stop"
    assert cut.text == whole.text[: whole.text.index(stop)]
    bias = ((llm.tokenizer.eos_id, 1000.0),)
    ended = llm.generate("hello", max_tokens=40, temperature=0, logit_bias=bias)
    assert (ended.tokens, ended.finish_reason, ended.text) == ([llm.tokenizer.eos_id], "stop", "")


def test_logprobs(llm):
    result = llm.generate("hello", max_tokens=6, temperature=0, logprobs=2, ignore_eos=True)
    assert [choice.token for choice in result.logprobs] == result.tokens
    assert all(choice.top[0] == (choice.token, choice.logprob) for choice in result.logprobs)
    assert "logprobs" in result.as_json()
    assert llm.generate("hello", max_tokens=2).logprobs is None


def test_leaving_a_stream_cancels_it(llm):
    with llm.stream("hello", max_tokens=50, ignore_eos=True) as stream:
        next(iter(stream))
    assert stream.result.finish_reason == "cancelled"
    assert 1 <= len(stream.result.tokens) < 50
    untouched = llm.stream("hello")
    with pytest.raises(RequestError, match="not finished"):
        _ = untouched.result
    untouched.close()
    assert untouched.result.finish_reason == "cancelled"
    assert llm._engine.memory.n_available == llm._engine.memory.n_pages


def test_a_lowered_request_says_so(llm):
    result = llm.generate("hello", max_tokens=10_000, temperature=0, ignore_eos=True)
    n = len(llm.tokenizer.encode("hello"))
    assert len(result.tokens) == llm.context - n
    assert result.notes == (f"max_tokens 10000 lowered to {512 - n}: the context holds 512 tokens",)
    assert result.as_json()["notes"] == list(result.notes)


def test_long_prompts_report_how_far_they_are(path):
    with load(path) as llm:
        llm._engine.scheduler.max_rows = 100
        seen = []
        llm.generate(prompt_tokens=[1] * 250, max_tokens=1, on_prompt=lambda done, n: seen.append((done, n)))
    assert seen == [(100, 250), (200, 250)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of prompt, prompt_tokens and messages is needed; found none"),
        ({"prompt": "a", "prompt_tokens": [1]}, "is needed; found prompt, prompt_tokens"),
        ({"prompt_tokens": []}, "the prompt has no tokens"),
        ({"prompt_tokens": [1, 272]}, r"token 272 is outside the vocabulary \(0 to 271\)"),
        ({"prompt_tokens": [-1]}, "token -1 is outside the vocabulary"),
        ({"prompt_tokens": [1] * 512}, "the prompt has 512 tokens, and the context of 512 must hold the answer too"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens is 0; expected 1 or more"),
        ({"prompt": "a", "params": SamplingParams(), "seed": 1}, "give params or seed, not both"),
        ({"prompt": "a", "stop": ""}, "a stop string is empty"),
    ],
)
def test_requests_that_cannot_be_done(llm, options, message):
    with pytest.raises(RequestError, match=message):
        llm.generate(**options)


def test_unknown_names_are_refused_with_the_nearest(llm, path):
    with pytest.raises(ConfigError, match="did you mean 'temperature'"):
        llm.generate("a", temprature=0)
    with pytest.raises(ConfigError, match="did you mean 'context'"):
        load(path, contxt=100)


def test_a_file_without_tokenizer_takes_and_gives_tokens(tmp_path):
    with load(write_tiny(tmp_path / "bare.gguf")) as llm:
        result = llm.generate(prompt_tokens=[1, 2, 3], max_tokens=4)
        assert (len(result.tokens), result.text) == (4, "")
        with pytest.raises(RequestError, match="has no tokenizer; give the prompt as tokens"):
            llm.generate("hello")
        with pytest.raises(RequestError, match="no text that a stop string could end"):
            llm.generate(prompt_tokens=[1], stop="x")
