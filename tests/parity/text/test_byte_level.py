"""GPT-2 type tokenizers on a real vocabulary: ids of textbook merging over transformers' own patterns."""

import pytest
from tests.support.samples import SAMPLES, random_texts
from tests.support.slow_tokenizers import SlowBytePairs, cut
from tests.support.toy_metadata import ToyMetadata
from transformers.integrations.gguf import gguf_tokenizer_mapping as transformers_gguf

from outpace.gguf.file import open_gguf
from outpace.text import Tokenizer

GPT2_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
MARKS = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"
# The patterns transformers knows, and the others as their models' own files spell them.
PATTERNS = {
    **{name: (pattern,) for name, pattern in transformers_gguf.GGUF_PRE_TOKENIZER_SPLITS.items()},
    "gpt-2": (GPT2_WORDS,),
    "smollm": (r"\p{N}", GPT2_WORDS),
    "default": (r"[\p{P}$+<=>^~|]+", GPT2_WORDS, r"\p{N}+", "[0-9][0-9][0-9]"),
    "deepseek-v3": (
        r"\p{N}{1,3}",
        "[一-龥぀-ゟ゠-ヿ]+",  # noqa: RUF001
        MARKS + r"[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ),
    "deepseek-coder": (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-\ud7ff]+", r"\p{N}"),
}
NOT_OURS = {"f2llmv2", "jina-v5-nano", "talkie"}  # embedding models and the like


@pytest.fixture(scope="module")
def real(smollm2_path):
    """The real file's tokenizer keys, as a dictionary that can be changed."""
    metadata = open_gguf(smollm2_path).metadata
    kinds = {"tokens": metadata.strs, "merges": metadata.strs, "token_type": metadata.ints, "model": metadata.str}
    return ToyMetadata({f"tokenizer.ggml.{name}": read(f"tokenizer.ggml.{name}") for name, read in kinds.items()})


# One name for each row; the others of the row differ in name only.
@pytest.mark.parametrize(
    "pre",
    [
        *("gpt-2", "smollm", "default", "llama-bpe", "dbrx", "qwen2", "qwen35"),
        *("gpt-4o", "tekken", "deepseek-v3", "deepseek-coder"),
    ],
)
def test_same_ids_as_textbook_merging(real, pre):
    real["tokenizer.ggml.pre"] = pre
    tokenizer = Tokenizer.from_metadata(real)
    slow = SlowBytePairs(real["tokenizer.ggml.tokens"], real["tokenizer.ggml.merges"], pre in ("llama-bpe", "tekken"))
    for text in [*SAMPLES, *random_texts(300)]:
        assert tokenizer.encode(text, add_special=False) == slow.encode(cut(text, PATTERNS[pre])), repr(text)


def test_every_name_that_transformers_knows_is_there(real):
    from outpace.text.pretokenizers import find_pretokenizer

    for name in transformers_gguf.GGUF_PRE_TOKENIZER_SPLITS.keys() - NOT_OURS:
        assert find_pretokenizer(name).name == name


def test_the_real_file(smollm2_path):
    metadata = open_gguf(smollm2_path).metadata
    tokenizer = Tokenizer.from_metadata(metadata)
    assert (tokenizer.name, tokenizer.pre, tokenizer.vocab_size) == ("gpt2", "smollm", 49152)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.stop_ids) == (1, 2, {0, 2})
    assert not tokenizer.add_bos
    for text in [*SAMPLES, *random_texts(300)]:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
    assert tokenizer.encode("<|im_start|>user\nhi<|im_end|>") == [1, 4093, 198, 6004, 2]
