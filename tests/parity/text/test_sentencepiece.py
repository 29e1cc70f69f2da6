"""SentencePiece type tokenizers: the ids of sentencepiece itself, on a model trained here."""

import io
import random

import pytest
import sentencepiece
from tests.support.samples import SAMPLES, random_texts
from tests.support.slow_tokenizers import SlowSentencePiece
from tests.support.toy_metadata import ToyMetadata

from outpace.text import Tokenizer

ADDED = ["<tool>", "\n\n"]


def corpus():
    rng = random.Random(1)
    words = " ".join(SAMPLES).split()
    yield from (line for text in SAMPLES for line in text.split("\n") if line)
    yield from ("  ".join(rng.choices(words, k=12)) for _ in range(300))


def train(**options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus(),
        model_writer=model,
        model_type="bpe",
        vocab_size=1100,
        byte_fallback=True,
        character_coverage=0.98,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        num_threads=1,
        minloglevel=2,
        **options,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def metadata_of(model, add_space_prefix):
    size = range(model.vocab_size())
    kinds = [(model.is_unknown, 2), (model.is_control, 3), (model.is_unused, 5), (model.is_byte, 6)]
    types = [next((number for is_kind, number in kinds if is_kind(i)), 1) for i in size]
    tokens = tuple(model.id_to_piece(i) for i in size)
    types = [4 if token in ADDED else kind for token, kind in zip(tokens, types, strict=True)]
    return ToyMetadata(
        {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": types,
            "tokenizer.ggml.scores": [model.get_score(i) for i in size],
            "tokenizer.ggml.bos_token_id": model.bos_id(),
            "tokenizer.ggml.eos_token_id": model.eos_id(),
            "tokenizer.ggml.add_space_prefix": add_space_prefix,
        }
    )


@pytest.fixture(scope="module", params=[True, False], ids=["space before text", "text as it is"])
def pair(request):
    # With a space before text, what follows a user-defined token differs by design (a space goes there too).
    model = train(add_dummy_prefix=request.param, user_defined_symbols=[] if request.param else ADDED)
    return model, metadata_of(model, request.param)


def test_same_ids_as_sentencepiece(pair):
    model, metadata = pair
    tokenizer = Tokenizer.from_metadata(metadata)
    words = " ".join(SAMPLES).split()
    rng = random.Random(2)
    mixed = [" ".join(rng.choices(words, k=8)) for _ in range(300)]
    for text in [*SAMPLES, *random_texts(500), *mixed, "a<tool> b\n\n\nc" * (not tokenizer.adds_space)]:
        assert tokenizer.encode(text, parse_special=False) == [model.bos_id(), *model.encode(text)], repr(text)
        if text:
            decoded = tokenizer.decode(tokenizer.encode(text, add_special=False, parse_special=False))
            assert decoded == " " * tokenizer.adds_space + text


def test_same_ids_as_merging_by_score(pair):
    _, metadata = pair
    tokenizer = Tokenizer.from_metadata(metadata)
    slow = SlowSentencePiece(
        metadata["tokenizer.ggml.tokens"],
        metadata["tokenizer.ggml.scores"],
        [kind == 1 for kind in metadata["tokenizer.ggml.token_type"]],
    )
    for text in [text for text in SAMPLES[1:] + tuple(random_texts(200, seed=3)) if "\n\n" not in text]:
        spaced = (" " * tokenizer.adds_space + text).replace(" ", "▁")
        assert tokenizer.encode(text, add_special=False) == slow.encode(spaced), repr(text)
