"""What drafts for a model must be for its tokens, scores included; another name for the way of cutting is told."""

from pathlib import Path

import pytest
from tests.support.toy_metadata import toy_gpt2, toy_sentencepiece

from outpace.errors import ModelFileError
from outpace.gguf.tokens import Tokens, check

MODEL, HEAD = Path("model.gguf"), Path("head.gguf")
SCORES, TYPES, PRE = (f"tokenizer.ggml.{name}" for name in ("scores", "token_type", "pre"))


def test_scores_that_cut_text_differently_are_refused():
    keys = dict(toy_sentencepiece())
    model = Tokens.of(MODEL, keys)
    assert check(model, Tokens.of(HEAD, keys)) is None
    normal = max(i for i, kind in enumerate(keys[TYPES]) if kind == 1)
    scores = list(keys[SCORES])
    scores[normal] += 1.0
    with pytest.raises(ModelFileError, match=rf"'{SCORES}': score {normal} of the head's tokenizer is "):
        check(model, Tokens.of(HEAD, keys | {SCORES: scores}))
    # In a file scores are single floats; in a folder they are double.
    scores[normal] = keys[SCORES][normal] + 1e-12
    assert check(model, Tokens.of(HEAD, keys | {SCORES: scores})) is None


def test_scores_of_tokens_that_no_text_is_cut_into_are_not_compared():
    keys = dict(toy_sentencepiece())
    special = next(i for i, kind in enumerate(keys[TYPES]) if kind == 3)
    scores = list(keys[SCORES])
    scores[special] = -1000.0
    assert check(Tokens.of(MODEL, keys), Tokens.of(HEAD, keys | {SCORES: scores})) is None


def test_another_name_for_the_way_of_cutting_is_told():
    keys = dict(toy_gpt2())
    model = Tokens.of(MODEL, keys)
    assert check(model, Tokens.of(HEAD, keys)) is None
    assert check(model, Tokens.of(HEAD, {key: value for key, value in keys.items() if key != PRE})) is None
    told = check(model, Tokens.of(HEAD, keys | {PRE: "llama-bpe"}))
    assert told == (
        "text is cut as 'smollm' in model.gguf and as 'llama-bpe' in head.gguf: "
        "where those differ, the head guesses wrong"
    )
