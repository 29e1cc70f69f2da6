"""A folder's tokenizer in a file: the same ids as the `tokenizers` library gives for its tokenizer.json."""

import json

import pytest
from tests.support.checkpoints import write_hybrid
from tests.support.samples import SAMPLES, random_texts
from tests.support.toy_metadata import byte_letters
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from outpace.convert.conversion import convert
from outpace.convert.pretokenizer import cuts
from outpace.errors import ModelFileError, UnsupportedError
from outpace.gguf.file import open_gguf
from outpace.text import Tokenizer as Ours
from outpace.text.chat import ChatTemplate
from outpace.text.pretokenizers import known_pretokenizers

N_VOCAB = 700
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# As the models' own tokenizer.json files spell them.
SPELLED = {
    "qwen2": {"type": "Split", "pattern": {"Regex": QWEN2}, "behavior": "Isolated", "invert": False},
    "qwen35": {
        "type": "Split",
        "pattern": {
            "Regex": QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
        },
        "behavior": "Isolated",
        "invert": False,
    },
    "llama-bpe": {
        "type": "Split",
        "pattern": {"Regex": QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")},
        "behavior": "Isolated",
        "invert": False,
    },
    "smollm": {"type": "Digits", "individual_digits": True},
    "gpt-2": None,
}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}


def described(name):
    """A pre-tokenizer as tokenizer.json has it."""
    if name in ("smollm", "gpt-2"):
        whole = BYTES | {"use_regex": True}
        return whole if name == "gpt-2" else {"type": "Sequence", "pretokenizers": [SPELLED[name], whole]}
    return {"type": "Sequence", "pretokenizers": [SPELLED[name], BYTES]}


def trained(name):
    """A tokenizer that was trained on the samples, as the text of its tokenizer.json."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=name == "llama-bpe"))
    text = tokenizer.to_str()
    tokenizer = Tokenizer.from_str(json.dumps(json.loads(text) | {"pre_tokenizer": described(name)}))
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=N_VOCAB - 20, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(SAMPLES, trainer)
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>", "<|endoftext|>"])
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    return tokenizer.to_str()


def folder_with(path, **files):
    """A model folder with these files: text, or JSON."""
    folder = write_hybrid(path, vocab_size=N_VOCAB)
    for name, content in files.items():
        stem, _, kind = name.rpartition("_")
        file = folder / f"{stem}.{kind}"
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


def converted(folder, **options):
    path = folder.parent / "out.gguf"
    written = convert(folder, path, type="Q8_0", is_forced=True, **options)
    return open_gguf(path).metadata, written


@pytest.mark.parametrize("name", SPELLED)
def test_same_ids_as_the_tokenizer_of_the_folder(tmp_path, name):
    text = trained(name)
    metadata, _ = converted(folder_with(tmp_path / "m", tokenizer_json=text))
    assert metadata["tokenizer.ggml.pre"] == name
    ours, theirs = Ours.from_metadata(metadata), Tokenizer.from_str(text)
    for sample in [*SAMPLES, *random_texts(300), "<|im_start|>user\n<think> x</think><|im_end|>"]:
        found = ours.encode(sample, add_special=False)
        assert found == theirs.encode(sample, add_special_tokens=False).ids, repr(sample)
        assert ours.decode(found) == sample
    assert ours.vocab_size == N_VOCAB


def test_the_probe_tells_all_known_ways_apart():
    ways = {}
    for pre in known_pretokenizers():
        ways.setdefault(pre.patterns, set()).add(tuple(cuts(pre)))
    assert all(len(found) == 1 for found in ways.values())
    assert len({next(iter(found)) for found in ways.values()}) == len(ways) > 10


def test_types_special_tokens_and_templates(tmp_path):
    text = trained("qwen35")
    ids = {each["content"]: each["id"] for each in json.loads(text)["added_tokens"]}
    folder = folder_with(
        tmp_path / "m",
        tokenizer_json=text,
        tokenizer_config_json={
            "bos_token": None,
            "eos_token": {"content": "<|im_end|>", "special": True},
            "pad_token": "<|endoftext|>",
            "add_bos_token": False,
            "chat_template": [
                {"name": "default", "template": "{{ messages[0]['content'] }}!"},
                {"name": "tools", "template": "tools"},
            ],
        },
        generation_config_json={"eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"], 5]},
    )
    metadata, written = converted(folder)
    types = metadata["tokenizer.ggml.token_type"]
    assert types[ids["<|im_start|>"]] == 3 and types[ids["<think>"]] == 4 and types[0] == 1
    n = len(json.loads(text)["model"]["vocab"]) + len(ids)
    assert (types[n:] == 5).all() and metadata["tokenizer.ggml.tokens"][n] == f"[PAD{n}]"
    assert metadata["tokenizer.ggml.eos_token_id"] == ids["<|im_end|>"]
    assert metadata["tokenizer.ggml.padding_token_id"] == ids["<|endoftext|>"]
    assert metadata["tokenizer.ggml.eot_token_id"] == 5
    assert "tokenizer.ggml.bos_token_id" not in metadata and metadata["tokenizer.ggml.add_bos_token"] is False
    ours = Ours.from_metadata(metadata)
    assert ours.stop_ids == {ids["<|im_end|>"], ids["<|endoftext|>"], 5}
    assert metadata["tokenizer.chat_templates"] == ("tools",)
    assert metadata["tokenizer.chat_template.tools"] == "tools"
    assert ChatTemplate.from_metadata(metadata).render([{"role": "user", "content": "hi"}]) == "hi!"
    assert written.notes == ()


def test_a_template_in_a_file_of_its_own_comes_first(tmp_path):
    files = {"tokenizer_json": trained("qwen2"), "tokenizer_config_json": {"chat_template": "old"}}
    metadata, _ = converted(folder_with(tmp_path / "m", **files, chat_template_jinja="new ü"))
    assert metadata["tokenizer.chat_template"] == "new ü"


@pytest.mark.parametrize("is_there", [True, False])
def test_a_begin_token_that_the_processor_adds(tmp_path, is_there):
    text = json.loads(trained("llama-bpe"))
    begin = [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}] * is_there
    single = [*begin, {"Sequence": {"id": "A", "type_id": 0}}]
    text["post_processor"] = {"type": "Sequence", "processors": [{"type": "TemplateProcessing", "single": single}]}
    folder = folder_with(tmp_path / "m", tokenizer_json=text, tokenizer_config_json={"bos_token": "<|im_start|>"})
    metadata, _ = converted(folder)
    assert metadata["tokenizer.ggml.add_bos_token"] is is_there
    assert (Ours.from_metadata(metadata).encode("a")[0] == metadata["tokenizer.ggml.bos_token_id"]) is is_there


def test_vocab_and_merges_of_old_folders(tmp_path):
    model = json.loads(trained("gpt-2"))["model"]
    merges = "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in model["merges"])
    folder = folder_with(tmp_path / "m", vocab_json=model["vocab"], merges_txt=merges)
    metadata, _ = converted(folder)
    ours, theirs = Ours.from_metadata(metadata), Tokenizer.from_str(trained("gpt-2"))
    for sample in SAMPLES:
        assert ours.encode(sample) == theirs.encode(sample, add_special_tokens=False).ids


def test_no_tokenizer_at_all(tmp_path):
    metadata, written = converted(folder_with(tmp_path / "m"))
    assert not any(key.startswith("tokenizer.") for key in metadata)
    assert written.notes == ("the folder has no tokenizer: the file takes token ids only",)


def test_a_way_of_cutting_that_is_named_by_hand(tmp_path):
    text = json.loads(trained("qwen2"))
    text["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"[a-z]+|.|\n"
    folder = folder_with(tmp_path / "m", tokenizer_json=text)
    with pytest.raises(UnsupportedError, match=r"a way of cutting text as in '.*tokenizer.json \(--pre names one\)'"):
        converted(folder)
    assert converted(folder, pre="qwen35")[0]["tokenizer.ggml.pre"] == "qwen35"
    with pytest.raises(UnsupportedError, match="pre-tokenizer 'qwen53' is not supported; did you mean 'qwen35'"):
        converted(folder, pre="qwen53")


def broken(**changes):
    text = json.loads(trained("qwen2"))
    for path, value in changes.items():
        at, *rest = path.split("__")
        inside = text if not rest else text[at]
        inside[rest[0] if rest else at] = value
    return text


BROKEN = [
    ("{", "the file is not JSON that can be read"),
    ({"model": 3}, "'model': is not a JSON object"),
    (broken(model__type="WordPiece"), "a tokenizer of type 'WordPiece' is not supported"),
    (broken(model__vocab={}), "'model.vocab': expected a JSON object of texts and ids"),
    (broken(model__vocab={"a": "b"}), "token 'b' with the text 'a' is none"),
    (broken(model__vocab={"a": 1, "b": 1}), "'model.vocab': two texts have the same id"),
    (broken(model__vocab={"a": 1, "b": 5000}), "token 5000 ('b') is outside the embedding of 700 tokens"),
    (broken(model__vocab={"\ud800": 1}), "a token holds half of a surrogate pair"),
    (broken(model__merges=[["a", "b", "c"]]), "'model.merges': expected a list of pairs of texts without spaces"),
    (broken(model__merges=["a  b"]), "'model.merges': expected a list of pairs"),
    (broken(pre_tokenizer={"type": "Split", "pattern": 4}), "'pre_tokenizer': cannot be built"),
    (broken(pre_tokenizer=None), "a way of cutting text as in"),
]


@pytest.mark.parametrize(("content", "sentence"), BROKEN, ids=[sentence for _, sentence in BROKEN])
def test_broken_tokenizers_are_refused(tmp_path, content, sentence):
    folder = folder_with(tmp_path / "m", tokenizer_json=content)
    with pytest.raises((ModelFileError, UnsupportedError)) as found:
        converted(folder)
    assert sentence in str(found.value)
    assert not (tmp_path / "out.gguf").exists()


def test_letters_of_bytes_are_those_of_the_library():
    assert sorted(byte_letters()) == sorted(pre_tokenizers.ByteLevel.alphabet())
