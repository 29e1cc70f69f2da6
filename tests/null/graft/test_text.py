"""The text to train on: what it goes on from, and who asks it."""

from pathlib import Path

import numpy as np
import pytest
from tests.support import tiny
from tests.support.toy_metadata import toy_gpt2

from outpace.gguf.file import open_gguf
from outpace.llm import LLM

pytest.importorskip("torch", reason="training needs torch")

from outpace.graft.asking import Asker
from outpace.graft.prompts import training_prompts
from outpace.graft.text import load, shard_path, write_texts
from outpace.text.chat import ChatTemplate

CHAT = "{% for m in messages %}<|im_start|>{{ m.role }} {{ m.content }}<|im_end|>{% endfor %}<|im_start|>"


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    text = dict(toy_gpt2(chat_template=CHAT))
    text = {key: list(each) if isinstance(each, tuple) else each for key, each in text.items()}
    n_vocab = len(text["tokenizer.ggml.tokens"])
    keys = tiny.metadata("llama", n_vocab=n_vocab) | text | {"llama.context_length": 1024}
    return tiny.write(
        tmp_path_factory.mktemp("text") / "base.gguf", keys, tiny.arrays(tiny.shapes("llama", n_vocab=n_vocab), 1)
    )


def test_a_model_asks_where_its_template_lets_a_user_begin(path):
    with LLM(path, parallel=8, context=512) as llm, open_gguf(path) as file:
        template = ChatTemplate.from_metadata(file.metadata)
        assert template is not None
        asker = Asker(llm, template)
        assert llm.tokenizer.decode(asker.opening) == "<|im_start|>user "
        found = asker.ask(24, 7)
        assert len(set(found)) == len(found) > 2 and all(text == text.strip() != "" for text in found)
        assert found == asker.ask(24, 7) and found != asker.ask(24, 100)
        # Each is a text of its own seed, whoever asks beside it.
        assert set(asker.ask(12, 7)) <= set(found)
        assert Asker(llm, ChatTemplate({"default": "no place for a user"})).ask(4, 0) == []


def test_half_of_the_prompts_are_the_models_own_and_answers_differ(path, tmp_path):
    shipped = training_prompts(0)
    with open_gguf(path) as file:
        n = write_texts(
            tmp_path, path, file, shipped, 600,
            seed=0, parallel=4, threads=1, progress=lambda *_: None,
        )  # fmt: skip
        texts = load(shard_path(tmp_path, 0))
        with LLM(path) as llm:
            first = np.cumsum(texts.lengths) - texts.lengths
            prompts = [
                llm.tokenizer.decode(texts.tokens[at : at + n_prompt].tolist())
                for at, n_prompt in zip(first.tolist(), texts.n_prompt.tolist(), strict=True)
            ]
    asked = {text for _, text in zip(range(16), training_prompts(0), strict=False)}
    is_shipped = [any(text in prompt for text in asked) for prompt in prompts]
    assert n >= 1 and 0 < sum(is_shipped) <= 16 and 0 < len(prompts) - sum(is_shipped) <= 16
    assert is_shipped == sorted(is_shipped, reverse=True)
