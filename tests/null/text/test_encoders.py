"""Byte-pair merging by the tables of a few words: the ids are those of the whole vocabulary's tables."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.toy_metadata import byte_letters, toy_gpt2
from tokenizers import models, pre_tokenizers

from outpace.text import Tokenizer, encoders
from outpace.text.encoders import ByteLevel

CUTTER = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
LETTERS = byte_letters()


def vocabulary(seed: int) -> tuple[dict[str, int], list[str]]:
    """Return bytes and pieces of four letters, joined at random from what is there, ranked out of order."""
    random_ = random.Random(seed)
    pieces, merges = list("abcd"), []
    while len(merges) < 60:
        left, right = random_.choice(pieces), random_.choice(pieces)
        if len(left + right) <= 12 and f"{left} {right}" not in merges:
            merges.append(f"{left} {right}")
            pieces.append(left + right)
    random_.shuffle(merges)
    tokens = dict.fromkeys([*(LETTERS[byte] for byte in range(256)), *pieces])
    return {token: i for i, token in enumerate(tokens)}, merges


@pytest.mark.parametrize("ignore_merges", [False, True])
@given(
    seed=st.integers(0, 50),
    texts=st.lists(st.text("abcd ", max_size=60) | st.text("ab", min_size=600, max_size=900), max_size=4),
)
@settings(deadline=None)
def test_the_same_ids_as_by_the_whole_tables(ignore_merges, seed, texts):
    ids, merges = vocabulary(seed)
    whole = models.BPE(ids, [tuple(merge.split(" ")) for merge in merges], ignore_merges=ignore_merges)
    encode = ByteLevel(CUTTER, ids, merges, ignore_merges=ignore_merges)
    for text in texts:
        words = [word for word, _ in CUTTER.pre_tokenize_str(text)]
        assert encode(text) == [token.id for word in words for token in whole.tokenize(word)]


def test_words_are_forgotten_and_met_again(monkeypatch):
    monkeypatch.setattr(encoders, "MOST_WORDS", 3)
    ids, merges = vocabulary(1)
    bounded = ByteLevel(CUTTER, ids, merges, ignore_merges=False)
    for text in ("aab abc", "aab abc dd cc", "bb cc dd aa ab", "aab abc bb"):
        assert bounded(text) == ByteLevel(CUTTER, ids, merges, ignore_merges=False)(text)
        assert len(bounded._known) <= 5


def test_a_merge_without_its_tokens_is_never_used():
    """As where a vocabulary was trimmed and its merges were not."""
    good = toy_gpt2()
    broken = toy_gpt2(ggml__merges=("Ġ nosuch", "nosuch e", "l h", "", *good["tokenizer.ggml.merges"]))
    text = "say hello nosuche lhe é 12"
    assert Tokenizer.from_metadata(broken).encode(text) == Tokenizer.from_metadata(good).encode(text)
    halves = ByteLevel(CUTTER, {"a": 0, "b": 1, "c": 2, "abc": 3}, ["ab c", "a bc"], ignore_merges=False)
    assert halves("abc") == [0, 1, 2]
