"""Byte-pair merging on the `tokenizers` library, from merge ranks (GPT-2) or from piece scores (SentencePiece)."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from outpace.text.pretokenizers import PreTokenizer
from outpace.text.vocabulary import TokenType, Vocabulary, broken, check_length

if TYPE_CHECKING:
    from outpace.gguf.metadata import Metadata

# Real pieces have at most some dozens of characters; cutting a hostile one in all ways would never end.
MAX_PIECE: Final = 1024


def byte_level_encoder(metadata: Metadata, vocabulary: Vocabulary, pre: PreTokenizer) -> Any:
    """Return an encoder of plain text for a GPT-2 type vocabulary.

    Raises:
        ModelFileError: The merges are missing or name tokens the vocabulary has not.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    merges = metadata.strs("tokenizer.ggml.merges")
    with _no_collection():
        pairs = [merge.partition(" ")[::2] for merge in merges]
        try:
            model = models.BPE(vocabulary.ids, pairs, ignore_merges=pre.ignore_merges)
        except Exception as error:  # noqa: BLE001  the library raises nothing more exact
            raise broken(metadata, "tokenizer.ggml.merges", str(error)) from None
    encoder = Tokenizer(model)
    steps: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in pre.patterns]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    encoder.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return encoder


def sentencepiece_encoder(metadata: Metadata, vocabulary: Vocabulary) -> Any:
    """Return an encoder of plain text, spaces already written as U+2581, for a SentencePiece type vocabulary.

    SentencePiece joins the neighbours whose joint piece scores highest, leftmost first. That is merging by rank, if
    every way of cutting a piece in two is a merge and merges are ranked by the score of what they make. Pieces with
    equal scores are taken in the order of their ids.

    Raises:
        ModelFileError: The scores are missing or of another length than the tokens.
    """
    from tokenizers import Tokenizer, models

    scores = metadata.floats("tokenizer.ggml.scores").tolist()
    check_length(metadata, "tokenizer.ggml.scores", len(scores), len(vocabulary.texts))
    ids = {vocabulary.texts[token]: token for token in vocabulary.ids_of(TokenType.NORMAL, TokenType.UNUSED)}
    with _no_collection():
        merges = [
            (left, right)
            for text in sorted(ids, key=lambda text: -scores[ids[text]])
            if len(text) <= MAX_PIECE
            for cut in range(1, len(text))
            if (left := text[:cut]) in ids and (right := text[cut:]) in ids
        ]
        bytes_ = {vocabulary.texts[token]: token for token in vocabulary.ids_of(TokenType.BYTE)}
        unknown = [vocabulary.texts[token] for token in vocabulary.ids_of(TokenType.UNKNOWN)][:1]
        known = ids | bytes_ | {text: vocabulary.ids[text] for text in unknown}
        model = models.BPE(
            known, merges, unk_token=unknown[0] if unknown else None, fuse_unk=True, byte_fallback=bool(bytes_)
        )
    return Tokenizer(model)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Hold off the cyclic collector, which would walk a quarter of a million small tuples over and over."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
