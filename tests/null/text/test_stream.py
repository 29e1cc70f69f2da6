"""Streamed text is decoded text, for any tokens and any split."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.samples import SAMPLES
from tests.support.toy_metadata import toy_gpt2, toy_sentencepiece

from outpace.errors import RequestError
from outpace.text import Detokenizer, Tokenizer

TOKENIZERS = [Tokenizer.from_metadata(toy_gpt2()), Tokenizer.from_metadata(toy_sentencepiece())]


@st.composite
def split_ids(draw):
    tokenizer = draw(st.sampled_from(TOKENIZERS))
    text_ids = st.sampled_from(SAMPLES).map(tokenizer.encode)
    any_ids = st.lists(st.integers(0, tokenizer.vocab_size - 1))  # mostly broken UTF-8
    ids = draw(st.one_of(text_ids, any_ids))
    cuts = sorted(draw(st.lists(st.integers(0, len(ids)))))
    return tokenizer, ids, [ids[a:b] for a, b in pairwise([0, *cuts, len(ids)])]


@given(split_ids(), st.booleans())
def test_streamed_is_decoded(case, skip_special):
    tokenizer, ids, pieces = case
    stream = Detokenizer(tokenizer, skip_special=skip_special)
    text = "".join(stream.push(piece) for piece in pieces) + stream.flush()
    assert text == tokenizer.decode(ids, skip_special)
    assert text.encode() == text.encode("utf-8", "strict")


def test_half_a_character_waits():
    tokenizer = TOKENIZERS[0]
    *first, last = tokenizer.encode("é🎉")
    stream = Detokenizer(tokenizer)
    assert stream.push(first) == "é"
    assert stream.push([last]) == "🎉"
    assert stream.flush() == ""


def test_what_cannot_become_a_character_does_not_wait():
    tokenizer = TOKENIZERS[0]
    stream = Detokenizer(tokenizer)
    half, letter = tokenizer.encode("🎉")[0], tokenizer.encode("a")[0]
    assert stream.push([half]) == ""
    assert stream.push([letter]) == "\ufffda"
    assert stream.push([half]) + stream.flush() == "\ufffd"
    assert stream.push([letter]) == "a", "flush starts afresh"


def test_an_impossible_token_is_named():
    with pytest.raises(RequestError, match="token 9999 is outside the vocabulary"):
        Detokenizer(TOKENIZERS[0]).push([9999])
