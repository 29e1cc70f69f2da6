"""A model and a smaller one seen as one file, and taken apart again; other tokens are refused by name."""

import re

import numpy as np
import pytest
from bench.random_gguf import write_random_llama
from tests.support import tiny
from tests.support.rewritten import rewritten

from outpace.errors import ModelFileError
from outpace.gguf.beside import PREFIX, beside, compare, open_with_draft, parts
from outpace.gguf.file import open_gguf
from outpace.gguf.types import GGMLType, ValueType
from outpace.gguf.writer import Typed

SIZES = {"n_layers": 1, "d_model": 32, "n_heads": 2, "n_kv_heads": 1, "head_dim": 16, "d_ff": 32, "type": GGMLType.F32}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    at = tmp_path_factory.mktemp("files")
    return {
        "model": write_random_llama(at / "model.gguf", vocab=600, **(SIZES | {"n_layers": 2})),
        "small": write_random_llama(at / "small.gguf", arch="qwen3", vocab=600, **SIZES),
        "padded": padded(write_random_llama(at / "more.gguf", vocab=610, **SIZES), at, 10),
        "bare": tiny.write_tiny(at / "bare.gguf", n_vocab=600),
    }


def padded(path, folder, n):
    """Return a file whose last n tokens are marked as unused."""
    with open_gguf(path) as file:
        types = file.metadata.ints("tokenizer.ggml.token_type").tolist()
    (folder / "padded").mkdir(exist_ok=True)
    types[-n:] = [5] * n
    return rewritten(path, folder / "padded", {"tokenizer.ggml.token_type": Typed(ValueType.INT32, types)})


def changed(path, folder, **keys):
    with open_gguf(path) as file:
        found = {
            f"tokenizer.ggml.{key}": change(file.metadata[f"tokenizer.ggml.{key}"]) for key, change in keys.items()
        }
    return rewritten(path, folder, found)


def same(one, other):
    assert one.path == other.path
    assert dict(one.metadata).keys() == dict(other.metadata).keys()
    assert all(repr(one.metadata[key]) == repr(other.metadata[key]) for key in other.metadata)
    assert {name: info.shape for name, info in one.tensors.items()} == {
        name: info.shape for name, info in other.tensors.items()
    }
    assert all(info.name == name for name, info in one.tensors.items())


def test_each_part_is_as_its_own_file(files):
    with (
        open_with_draft(files["model"], files["small"]) as both,
        open_gguf(files["model"]) as model,
        open_gguf(files["small"]) as small,
    ):
        own, other = parts(both)
        same(own, model)
        same(other, small)
        for name in small.tensors:
            assert both.data(PREFIX + name).tobytes() == small.data(name).tobytes()
        for name in model.tensors:
            assert both.data(name).tobytes() == model.data(name).tobytes()
    with open_with_draft(files["model"], None) as alone:
        assert parts(alone) == (alone, None)


def test_a_token_that_differs_is_named(files, tmp_path):
    def other(tokens):
        return Typed(ValueType.STRING, [*tokens[:30], "other", *tokens[31:]])

    small = changed(files["small"], tmp_path, tokens=other)
    told = f"{small}: metadata 'tokenizer.ggml.tokens': token 30 of the draft model's tokenizer is 'other', and in "
    with pytest.raises(ModelFileError, match=re.escape(told + str(files["model"]))):
        open_with_draft(files["model"], small)
    small = changed(files["small"], tmp_path, model=lambda _: "llama")
    with pytest.raises(ModelFileError, match="the draft model is for a tokenizer of the kind 'llama'"):
        open_with_draft(files["model"], small)
    # What is merged first is the business of the model's own tokenizer.
    small = changed(files["small"], tmp_path, merges=lambda merges: Typed(ValueType.STRING, merges[::-1]))
    open_with_draft(files["model"], small).close()


def test_unused_tokens_may_fill_a_vocabulary_up(files, tmp_path):
    for one, other in (("model", "padded"), ("padded", "model"), ("padded", "padded")):
        open_with_draft(files[one], files[other]).close()
    more = write_random_llama(tmp_path / "more.gguf", vocab=610, **SIZES)
    with pytest.raises(ModelFileError, match=r"the draft model is for 610 tokens, and .* has 600"):
        open_with_draft(files["model"], more)
    # A token that differs says more than two numbers.
    other = changed(more, tmp_path, tokens=lambda tokens: Typed(ValueType.STRING, [*tokens[:7], "x", *tokens[8:]]))
    with pytest.raises(ModelFileError, match="token 7 of the draft model's tokenizer is 'x'"):
        open_with_draft(files["model"], other)


def test_without_a_tokenizer_the_number_of_tokens_is_compared(files, tmp_path):
    with open_gguf(files["model"]) as model, open_gguf(files["bare"]) as bare:
        for one, other in ((model, bare), (bare, model)):
            assert compare(one, other) == (
                f"{bare.path} has no tokenizer: only the number of tokens was compared, which is 600 in both"
            )
            assert parts(beside(one, other))[1] is not None
        # Unused tokens count, for nobody can say how many of a number are.
        with open_gguf(tiny.write_tiny(tmp_path / "b.gguf", n_vocab=610)) as wide, open_gguf(files["padded"]) as filled:
            for one, other in ((wide, filled), (filled, wide)):
                assert "which is 610 in both" in compare(one, other)
        with open_gguf(tiny.write_tiny(tmp_path / "a.gguf", n_vocab=601)) as wider:
            for one, other, said in ((model, wider, "601 tokens, and"), (wider, bare, "600 tokens, and")):
                with pytest.raises(ModelFileError, match=f"the draft model is for {said}"):
                    beside(one, other)


def test_a_model_with_names_of_a_draft_models_is_refused(files, tmp_path):
    tensor = (GGMLType.F32, (2,), np.ones(2, np.float32))
    name = f"{PREFIX}output.weight"
    for changes, where in (
        ({"tensors": {name: tensor}}, f"tensor '{name}'"),
        ({"keys": {f"{PREFIX}x": 1}}, f"metadata '{PREFIX}x'"),
    ):
        path = rewritten(files["model"], tmp_path, **changes)
        with pytest.raises(ModelFileError, match=re.escape(f"{path}: {where}: no name beside a draft model")):
            open_with_draft(path, files["small"])
