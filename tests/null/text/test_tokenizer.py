"""Tokenizers from hand-made vocabularies: round trips, special tokens, and files that make no sense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.samples import SAMPLES, random_texts
from tests.support.toy_metadata import ToyMetadata, toy_gpt2, toy_sentencepiece

from outpace.errors import ModelFileError, RequestError, UnsupportedError
from outpace.text import Tokenizer
from outpace.text.pretokenizers import find_pretokenizer

GPT2 = Tokenizer.from_metadata(toy_gpt2())
SENTENCEPIECE = Tokenizer.from_metadata(toy_sentencepiece())
# One name of each pattern; the others are the same rows.
PRE = (
    "default gpt-2 smollm llama-bpe dbrx qwen2 qwen35 gpt-4o tekken "
    "deepseek-llm deepseek-coder deepseek-v3 falcon seed-coder"
)


@pytest.mark.parametrize("pre", PRE.split())
def test_every_text_survives_a_round_trip(pre):
    tokenizer = Tokenizer.from_metadata(toy_gpt2(pre, ggml__add_bos_token=False))
    for text in [*SAMPLES, *random_texts(200)]:
        assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_a_round_trip(text):
    assert GPT2.decode(GPT2.encode(text)) == text
    assert GPT2.decode(GPT2.encode(text, parse_special=False)) == text


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), min_size=1))
def test_sentencepiece_gives_back_the_space_it_adds(text):
    ids = SENTENCEPIECE.encode(text, parse_special=False)
    if "<tool>" not in text:
        assert SENTENCEPIECE.decode(ids, skip_special=True) == f" {text}"


def test_merges_go_by_rank():
    pieces = [GPT2.token_bytes(token) for token in GPT2.encode("say hello 123é")]
    assert pieces == [b"s", b"a", b"y", b" hello", b" ", b"1", b"2", b"3", "é".encode()]


def test_whole_words_are_taken_without_merging_where_the_file_means_it():
    # No merge makes "hello", so only a whole-word look-up finds it.
    metadata = toy_gpt2("llama-bpe", ggml__add_bos_token=False)
    metadata["tokenizer.ggml.tokens"] = (*metadata["tokenizer.ggml.tokens"], "hello")
    metadata["tokenizer.ggml.token_type"] = [*metadata["tokenizer.ggml.token_type"], 1]
    last = len(metadata["tokenizer.ggml.tokens"]) - 1
    assert Tokenizer.from_metadata(metadata).encode("hello") == [last]
    metadata["tokenizer.ggml.pre"] = "qwen2"
    assert Tokenizer.from_metadata(metadata).encode("hello") != [last]


def test_special_tokens_are_read_unless_told_otherwise():
    start, think = GPT2.id_of("<|im_start|>"), GPT2.id_of("<think>")
    assert GPT2.encode("<|im_start|><think>") == [start, think]
    plain = GPT2.encode("<|im_start|><think>", parse_special=False)
    assert start not in plain and plain[-1] == think, "user-defined tokens are always read"
    assert GPT2.decode(plain) == "<|im_start|><think>"


def test_the_longest_special_token_wins():
    metadata = toy_gpt2()
    metadata["tokenizer.ggml.tokens"] = (*metadata["tokenizer.ggml.tokens"], "<think>more")
    metadata["tokenizer.ggml.token_type"] = [*metadata["tokenizer.ggml.token_type"], 4]
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.encode("<think>more") == [tokenizer.id_of("<think>more")]


def test_hidden_unused_and_impossible_tokens():
    start, pad = GPT2.id_of("<|im_start|>"), GPT2.id_of("[PAD7]")
    assert GPT2.special_ids == {start, GPT2.eos_id}
    assert GPT2.token_bytes(start) == b"<|im_start|>"
    assert GPT2.token_bytes(start, skip_special=True) == b""
    assert GPT2.token_bytes(pad) == b""
    for token in (-1, GPT2.vocab_size):
        with pytest.raises(
            RequestError, match=rf"token {token} is outside the vocabulary \(0 to {GPT2.vocab_size - 1}\)"
        ):
            GPT2.decode([token])


def test_begin_and_end_tokens_come_once():
    tokenizer = Tokenizer.from_metadata(toy_gpt2("llama-bpe", ggml__add_eos_token=True))
    assert tokenizer.add_bos and tokenizer.add_eos
    expected = [tokenizer.bos_id, *GPT2.encode("é"), tokenizer.eos_id]
    assert tokenizer.encode("é") == tokenizer.encode("<|im_start|>é<|im_end|>") == expected
    assert tokenizer.encode("é", add_special=False) == expected[1:-1]
    assert not Tokenizer.from_metadata(toy_gpt2("smollm")).add_bos


def test_sentencepiece_scores_bytes_and_spaces():
    assert SENTENCEPIECE.add_bos and SENTENCEPIECE.adds_space
    texts = [SENTENCEPIECE.token_bytes(token) for token in SENTENCEPIECE.encode("hello world\né")]
    assert texts == [b"<s>", b" h", b"e", b"ll", b"o", b" wor", b"ld", b"\n", b"\xc3", b"\xa9"]
    spaced = SENTENCEPIECE.decode(SENTENCEPIECE.encode("h<tool>h", add_special=False))
    assert spaced == " h<tool> h", "text after a special token starts with a space too"
    plain = Tokenizer.from_metadata(toy_sentencepiece(ggml__add_space_prefix=False))
    assert plain.decode(plain.encode("hello", add_special=False)) == "hello"


def test_stop_tokens():
    assert GPT2.stop_ids == {GPT2.eos_id}
    metadata = toy_gpt2(ggml__eot_token_id=5, ggml__eom_token_id=6)
    metadata["tokenizer.ggml.tokens"] = (*metadata["tokenizer.ggml.tokens"], "<end_of_turn>", "<|end|>")
    metadata["tokenizer.ggml.token_type"] = [*metadata["tokenizer.ggml.token_type"], 1, 1]
    tokenizer = Tokenizer.from_metadata(metadata)
    by_name = {tokenizer.id_of("<end_of_turn>"), tokenizer.id_of("<|end|>")}
    assert tokenizer.stop_ids == {tokenizer.eos_id, 5, 6} | by_name
    assert by_name < tokenizer.special_ids, "typed as plain text in the file, but control by name"


def test_channels_do_not_end_a_turn():
    metadata = toy_gpt2()
    metadata["tokenizer.ggml.tokens"] = (*metadata["tokenizer.ggml.tokens"], "<|return|>", "<|call|>", "<|end|>")
    metadata["tokenizer.ggml.token_type"] = [*metadata["tokenizer.ggml.token_type"], 3, 3, 3]
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.id_of("<|end|>") not in tokenizer.stop_ids
    assert tokenizer.id_of("<|return|>") in tokenizer.stop_ids


def test_what_is_unknown_is_refused_by_name():
    with pytest.raises(UnsupportedError, match=r"pre-tokenizer 'qwen3' is not supported; did you mean 'qwen.*qwen35"):
        Tokenizer.from_metadata(toy_gpt2("qwen3"))
    with pytest.raises(UnsupportedError, match=r"tokenizer 'bert' is not supported.*supported: gpt2, llama"):
        Tokenizer.from_metadata(ToyMetadata({"tokenizer.ggml.model": "bert"}))
    assert Tokenizer.from_metadata(toy_gpt2(None)).pre == "default"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ggml__token_type": [1, 1]}, r"toy.gguf: metadata 'tokenizer.ggml.token_type': has 2 items for 272 tokens"),
        ({"ggml__eos_token_id": 272}, r"'tokenizer.ggml.eos_token_id': is 272, outside the 272 tokens"),
    ],
)
def test_lists_that_do_not_fit_are_named(change, message):
    with pytest.raises(ModelFileError, match=message):
        Tokenizer.from_metadata(toy_gpt2(**change))


def test_scores_must_fit():
    with pytest.raises(ModelFileError, match=r"'tokenizer.ggml.scores': has 1 items for \d+ tokens"):
        Tokenizer.from_metadata(toy_sentencepiece(ggml__scores=[0.0]))


def test_half_a_surrogate_pair_is_refused():
    with pytest.raises(RequestError, match="character 2 of the text is half of a surrogate pair"):
        GPT2.encode("ab\ud800c")
    with pytest.raises(RequestError, match="character 7 of the text"):
        SENTENCEPIECE.encode("<tool>a\udc00")


@pytest.mark.parametrize(
    ("pre", "text", "words"),
    [
        ("gpt-2", "it's 1234  ok", ["it", "'s", " 1234", " ", " ok"]),
        ("smollm", "x 1234", ["x", " ", "1", "2", "3", "4"]),
        ("default", "a+b 12345!?", ["a", "+", "b", " ", "123", "45", "!?"]),
        ("llama-bpe", "IT'S 12345\n\n x", ["IT", "'S", " ", "123", "45", "\n\n", " x"]),
        ("qwen2", "e\u0301 12", ["e", "\u0301", " ", "1", "2"]),
        ("qwen35", "e\u0301 12 _\u0301j", ["e\u0301", " ", "1", "2", " _", "\u0301j"]),
        ("gpt-4o", "HTTPServer's a/b\n", ["HTTPServer's", " a", "/b", "\n"]),
        ("gpt-4o", "camelCase", ["camel", "Case"]),
        ("tekken", "don't 12", ["don", "'t", " ", "1", "2"]),
        ("deepseek-v3", "a 1234 你好。x.y", ["a", " ", "123", "4", " ", "你好", "。", "x", ".y"]),
        ("deepseek-llm", "a b12你好!!\nქ", ["a", " b", "12", "你好", "!!", "\n", "ქ"]),
        ("deepseek-coder", "a b12, 你\n", ["a", " b", "1", "2", ",", " ", "你", "\n"]),
        ("falcon", "a`b 12345", ["a", "`", "b", " ", "123", "45"]),
        ("seed-coder", "a !!\nb", ["a", " !!", "\n", "b"]),
    ],
)
def test_cutting_by_hand(pre, text, words):
    from tokenizers import Regex, pre_tokenizers

    steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in find_pretokenizer(pre).patterns]
    assert [word for word, _ in pre_tokenizers.Sequence(steps).pre_tokenize_str(text)] == words
