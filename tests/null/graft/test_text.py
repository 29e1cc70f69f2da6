"""The text to train on: what it goes on from, and that it goes on where it was left."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from tests.support.tiny import write_speaking

pytest.importorskip("torch", reason="training needs torch")

from outpace.backends.cpu import CpuBackend
from outpace.errors import ConfigError
from outpace.gguf.file import open_gguf
from outpace.graft.blueprint import Blueprint
from outpace.graft.prompts import training_prompts
from outpace.graft.shards import open_shard
from outpace.graft.text import ROUNDS, TEMPERATURE, Plan, plans, write_text
from outpace.text.tokenizer import Tokenizer

CHAT = "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}<|im_start|>"


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return write_speaking(tmp_path_factory.mktemp("text") / "base.gguf", seed=1, context=1024, template=CHAT)


def write(folder: Path, path: Path, prompts: Iterator[str] | list[str], n_tokens: int, told: list[int]) -> int:
    with open_gguf(path) as file:
        return write_text(
            folder, Blueprint(file), CpuBackend(1), prompts, n_tokens,
            seed=0, parallel=2, progress=lambda _, n, total: told.append(n) if n <= total else told.append(-1),
        )  # fmt: skip


def test_shards_answer_the_prompts_in_their_order_and_are_written_once(path, tmp_path):
    told: list[int] = []
    n = write(tmp_path, path, training_prompts(0), 6000, told)
    assert n > 1 and told == sorted(told) and told[-1] == 6000 and told[0] >= 0
    shards = [open_shard(tmp_path, i) for i in range(n)]
    assert sum(each.n_written for each in shards) >= 6000 > sum(each.n_written for each in shards[:-1])
    with open_gguf(path) as file:
        tokenizer = Tokenizer.from_metadata(file.metadata)
    asked = list(islice(training_prompts(0), n * ROUNDS * 2))
    said = []
    for shard in shards:
        at = 0
        for length, n_prompt in zip(shard.lengths.tolist(), shard.n_prompt.tolist(), strict=True):
            said.append(tokenizer.decode(shard.text[at : at + n_prompt].tolist()))
            at += length
    # Of toy merges a prompt may be too long; none is out of its turn.
    expected = [f"<|im_start|>user {text}<|im_end|><|im_start|>" for text in asked]
    rest = iter(expected)
    assert len(said) > len(expected) // 2 and all(text in rest for text in said)
    # Of what was there it is told at once: a speed is of what is written now.
    told.clear()
    more = write(tmp_path, path, training_prompts(0), 9000, told)
    assert more > n and told[0] == sum(each.n_written for each in shards)
    times = {each: each.stat().st_mtime_ns for each in tmp_path.glob("shard-*/*")}
    assert write(tmp_path, path, training_prompts(0), 6000, told) == n
    assert {each: each.stat().st_mtime_ns for each in tmp_path.glob("shard-*/*")} == times
    assert write(tmp_path, path, training_prompts(0), 6001 + shards[-1].n_written, told) > n


def test_a_list_is_answered_greedily_then_again_with_other_noise():
    found = list(islice(plans(["a", "b", "c"], 2, 7), 6))
    assert found == [
        Plan(["a", "b"], 0.0, 7), Plan(["c"], 0.0, 7),
        Plan(["a", "b"], TEMPERATURE, 8), Plan(["c"], TEMPERATURE, 8),
        Plan(["a", "b"], TEMPERATURE, 9), Plan(["c"], TEMPERATURE, 9),
    ]  # fmt: skip


def test_prompts_without_end_are_answered_once_half_of_them_greedily():
    found = list(islice(plans(map(str, range(100)), 3, 7), 4))
    assert [each.prompts for each in found] == [["0", "1", "2"], ["3", "4", "5"], ["6", "7", "8"], ["9", "10", "11"]]
    assert [each.temperature for each in found] == [0.0, TEMPERATURE, 0.0, TEMPERATURE]
    assert len({each.seed for each in found}) == 4


def test_prompts_that_are_all_too_long_are_told(path, tmp_path):
    with pytest.raises(ConfigError, match="at most 384 tokens"):
        write(tmp_path, path, ["x" * 3000], 10, [])
    assert not list(tmp_path.iterdir())


def test_a_model_that_ends_each_answer_at_once_is_told(path, tmp_path, monkeypatch):
    monkeypatch.setattr("outpace.graft.text.Author.write", lambda *_: [])
    monkeypatch.setattr("outpace.graft.text.save_shard", lambda *_: None)
    with pytest.raises(ConfigError, match="in 4 rounds it has ended each answer at once"):
        write(tmp_path, path, ["a", "b"], 10, [])
