"""A sentencepiece model through `convert`: its own ids, from its own file and from a tokenizer.json made of it."""

import io
import json
import random

import pytest
import sentencepiece
import tokenizers
from tests.support.checkpoints import write_hybrid
from tests.support.samples import SAMPLES, random_texts

from outpace.convert.conversion import convert
from outpace.errors import ModelFileError, UnsupportedError
from outpace.gguf.file import open_gguf
from outpace.text import Tokenizer

N_VOCAB = 1110


def trained(**options):
    rng, model = random.Random(1), io.BytesIO()
    words = " ".join(SAMPLES).split()
    lines = [line for text in SAMPLES for line in text.split("\n") if line]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines + ["  ".join(rng.choices(words, k=12)) for _ in range(300)]),
        model_writer=model,
        **{
            "model_type": "bpe",
            "vocab_size": 1100,
            "byte_fallback": True,
            "character_coverage": 0.98,
            "normalization_rule_name": "identity",
            "remove_extra_whitespaces": False,
            "num_threads": 1,
            "minloglevel": 2,
        }
        | options,
    )
    return model.getvalue()


def converted(folder):
    path = folder.parent / "out.gguf"
    convert(folder, path, type="Q8_0", is_forced=True)
    return open_gguf(path).metadata


@pytest.mark.parametrize("adds_space", [True, False])
def test_from_its_own_file(tmp_path, adds_space):
    raw = trained(add_dummy_prefix=adds_space)
    folder = write_hybrid(tmp_path / "m", vocab_size=N_VOCAB)
    (folder / "tokenizer.model").write_bytes(raw)
    (folder / "added_tokens.json").write_text(json.dumps({"<tool>": 1100}))
    config = {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": True}
    config["added_tokens_decoder"] = {"1101": {"content": "<|end|>", "special": True}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    metadata = converted(folder)
    model = sentencepiece.SentencePieceProcessor(model_proto=raw)
    assert metadata["tokenizer.ggml.model"] == "llama"
    assert metadata["tokenizer.ggml.tokens"][:1100] == tuple(model.id_to_piece(i) for i in range(1100))
    assert metadata["tokenizer.ggml.scores"][:1100].tolist() == [model.get_score(i) for i in range(1100)]
    assert metadata["tokenizer.ggml.token_type"][[0, 1, 3, 1000, 1100, 1101, 1102]].tolist() == [2, 3, 6, 1, 4, 3, 5]
    ours = Tokenizer.from_metadata(metadata)
    assert ours.adds_space is adds_space
    for text in [*SAMPLES, *random_texts(300)]:
        assert ours.encode(text, parse_special=False) == [model.bos_id(), *model.encode(text)], repr(text)


def as_tokenizer_json(model):
    """Pieces as ranked merges, in the order of the scores of what they make, as folders without the model have them."""
    pieces = {model.id_to_piece(i): i for i in range(model.vocab_size())}
    normal = {
        text: i for text, i in pieces.items() if not (model.is_control(i) or model.is_byte(i) or model.is_unknown(i))
    }
    merges = [
        (text[:cut], text[cut:])
        for text in sorted(normal, key=lambda text: -model.get_score(normal[text]))
        for cut in range(1, len(text))
        if text[:cut] in normal and text[cut:] in normal
    ]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE(pieces, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    spaces = [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
    tokenizer.normalizer = tokenizers.normalizers.Sequence(spaces)
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return tokenizer


def test_from_a_tokenizer_json(tmp_path):
    model = sentencepiece.SentencePieceProcessor(model_proto=trained())
    folder = write_hybrid(tmp_path / "m", vocab_size=N_VOCAB)
    theirs = as_tokenizer_json(model)
    theirs.save(str(folder / "tokenizer.json"))
    metadata = converted(folder)
    assert metadata["tokenizer.ggml.token_type"][[0, 1, 3, 1000]].tolist() == [2, 3, 6, 1]
    ours = Tokenizer.from_metadata(metadata)
    for text in [*SAMPLES[1:], *random_texts(200)]:
        if text:
            found = ours.encode(text, add_special=False, parse_special=False)
            assert found == theirs.encode(text, add_special_tokens=False).ids == model.encode(text), repr(text)


def test_models_that_are_none(tmp_path):
    folder = write_hybrid(tmp_path / "m", vocab_size=N_VOCAB)
    whole = trained()
    for raw in (b"", b"\x0a\xff", whole + b"\x0f", bytes(100), whole[: len(whole) // 3]):
        (folder / "tokenizer.model").write_bytes(raw)
        with pytest.raises((ModelFileError, UnsupportedError), match="sentencepiece model"):
            converted(folder)
    (folder / "tokenizer.model").write_bytes(trained(model_type="unigram", vocab_size=700))
    with pytest.raises(UnsupportedError, match="a sentencepiece model of type 'unigram' is not supported"):
        converted(folder)
