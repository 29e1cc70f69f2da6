"""What a model writes and says of itself, against runs of each text alone from its start, and against the engine."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.tiny import write_speaking

pytest.importorskip("torch", reason="training needs torch")

import torch

from outpace.backends.backend import Limits
from outpace.backends.cpu import CpuBackend
from outpace.gguf.file import open_gguf
from outpace.gguf.weights import Weights
from outpace.graft import author
from outpace.graft.author import Author
from outpace.graft.blueprint import Blueprint
from outpace.graft.shards import Shard
from outpace.graph.step import PAGE, Segment, Step
from outpace.graph.trace import trace
from outpace.llm import LLM

# More prompts than places, of one token and of more than a page.
PROMPTS = [[*range(7, 7 + n)] for n in (PAGE + 6, 1, 5, 3, PAGE // 2, 2, 1)]


@pytest.fixture(scope="module", params=["llama", "qwen35"])
def path(request, tmp_path_factory) -> Path:
    return write_speaking(tmp_path_factory.mktemp("author") / "base.gguf", request.param, seed=1, context=256)


@pytest.fixture(scope="module", params=[0.0, 0.8])
def written(request, path) -> tuple[float, Shard, list[int]]:
    told: list[int] = []
    with open_gguf(path) as file:
        found = Author(Blueprint(file), CpuBackend(1), 3).write(PROMPTS, request.param, 5, told.append)
    return request.param, found, told


def texts(shard: Shard) -> list[slice]:
    ends = np.cumsum(shard.lengths).tolist()
    return [slice(end - n, end) for end, n in zip(ends, shard.lengths.tolist(), strict=True)]


def test_what_is_kept_is_what_each_text_gives_alone(path, written):
    _, shard, told = written
    assert sum(told) == shard.n_written == len(shard.text) - sum(map(len, PROMPTS))
    with open_gguf(path) as file:
        like = Blueprint(file)
        plan = trace("trunk", lambda ops: like.definition.trunk(ops, Weights(file), like.config))
        for prompt, rows in zip(PROMPTS, texts(shard), strict=True):
            text, n = shard.text[rows].tolist(), rows.stop - rows.start
            assert text[: len(prompt)] == prompt
            pages = np.arange(-(-n // PAGE), dtype=np.int32)
            alone = CpuBackend(1).compile(plan, file, Limits(n, n, len(pages)))
            result = alone.run(Step(text, [Segment(0, n, pages)], range(n), range(n)))
            np.testing.assert_array_equal(shard.hidden[rows], result.hidden.astype(np.float16))
            # From the last position of the prompt on; before it nobody guesses.
            said = slice(len(prompt) - 1, n)
            best = np.argsort(-result.logits, 1, kind="stable")[:, : author.TOP]
            shares = np.exp(result.logits.astype(np.float64))
            logprobs = np.log(np.take_along_axis(shares, best, 1) / shares.sum(1, keepdims=True))
            np.testing.assert_array_equal(shard.best[rows][said], best[said])
            np.testing.assert_allclose(shard.logprobs[rows][said], logprobs[said], atol=0.01)
            assert not shard.best[rows][: len(prompt) - 1].any() and not shard.logprobs[rows][: len(prompt) - 1].any()


def test_greedy_answers_are_those_of_the_engine(path, written):
    temperature, shard, _ = written
    answers = [shard.text[rows][len(prompt) :].tolist() for prompt, rows in zip(PROMPTS, texts(shard), strict=True)]
    with LLM(path, parallel=4, context=256) as llm:
        results = llm.generate(prompt_tokens=PROMPTS, temperature=0.0, max_tokens=min(author.MOST_ANSWER, 128))
        stops = llm.tokenizer.stop_ids
    # The engine may give the token that ends a text; here it is not a part of it.
    greedy = [[token for token in each.tokens if token not in stops] for each in results]
    assert (answers == greedy) is (temperature == 0)


def test_noise_is_of_the_seed_and_the_text_alone(path, written):
    temperature, shard, _ = written
    if not temperature:
        pytest.skip("greedy answers have no noise")
    with open_gguf(path) as file:
        writer = Author(Blueprint(file), CpuBackend(1), 8)
        again = writer.write(PROMPTS, temperature, 5, lambda n: None)
        for before, now in zip(shard, again, strict=True):
            np.testing.assert_array_equal(before, now)
        assert not np.array_equal(shard.text, writer.write(PROMPTS, temperature, 6, lambda n: None).text)
        same = writer.write([PROMPTS[1]] * 4, temperature, 5, lambda n: None)
    assert len({tuple(same.text[rows].tolist()) for rows in texts(same)}) > 1


def test_tokens_are_drawn_as_often_as_their_shares_say():
    """By counting; the tokens beyond the likeliest are drawn too, and zero or the last sliver of noise is a token."""
    random = np.random.default_rng(3)
    n, logits = 20_000, torch.from_numpy(random.normal(0, 1, 40).astype(np.float32))
    rows = logits.expand(n, -1)
    drawn = author._sampled(rows, rows.topk(4).indices, 0.8, random.random(n).tolist())
    shares = np.exp(logits.double().numpy() / 0.8)
    shares /= shares.sum()
    found = np.bincount(drawn, minlength=40) / n
    assert (np.abs(found - shares) < 5 * np.sqrt(shares * (1 - shares) / n) + 1 / n).all()
    assert found[shares < np.sort(shares)[-4]].sum() > 0.2
    ends = author._sampled(rows[:2], rows[:2].topk(4).indices, 0.8, [0.0, np.nextafter(1, 0)])
    assert ends[0] == int(logits.argmax()) and 0 <= ends[1] < 40
