"""Byte-pair merging on the `tokenizers` library, from merge ranks (GPT-2) or from piece scores (SentencePiece)."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from outpace.text.pretokenizers import PreTokenizer
from outpace.text.vocabulary import TokenType, Vocabulary, check_length

if TYPE_CHECKING:
    from outpace.gguf.metadata import Metadata

# Real pieces have at most some dozens of characters; cutting a hostile one in all ways would never end.
MAX_PIECE: Final = 1024

# Words that are remembered; a few megabytes.
MOST_WORDS: Final = 1 << 14

# From so many letters of new words on it pays to know how long the tokens are that begin with the same `HEAD` letters.
MANY_LETTERS: Final = 512
HEAD: Final = 3

Encoder: TypeAlias = Callable[[str], list[int]]


def byte_level_encoder(metadata: Metadata, vocabulary: Vocabulary, pre: PreTokenizer) -> Encoder:
    """Return an encoder of plain text for a GPT-2 type vocabulary.

    Raises:
        ModelFileError: There are no merges.
    """
    from tokenizers import Regex, pre_tokenizers

    steps: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in pre.patterns]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    merges = metadata.strs("tokenizer.ggml.merges")
    return ByteLevel(pre_tokenizers.Sequence(steps), vocabulary.ids, merges, ignore_merges=pre.ignore_merges)


class ByteLevel:
    """Text to ids: cut into words, each of them merged by the library, which is given what these words can use.

    Merging a word meets no piece that is not a part of it, so tables of such pieces and of the merges between them make
    the same ids as those of the whole vocabulary, which take some microseconds a token to build. A merge whose
    parts or whole are no tokens is never used.

    State: the ids of words that were met before.
    """

    def __init__(self, cutter: Any, ids: Mapping[str, int], merges: Sequence[str], *, ignore_merges: bool) -> None:
        self._cutter, self._ids, self._ignore_merges = cutter, ids, ignore_merges
        self._ranks = dict(zip(merges, range(len(merges)), strict=True))
        self._known: dict[str, list[int]] = {}

    def __call__(self, text: str) -> list[int]:
        """Return the ids of a text without special tokens.

        Raises:
            UnicodeEncodeError: It holds half of a surrogate pair.

        Cost: some 10 microseconds for each word not met before.
        """
        words = [word for word, _ in self._cutter.pre_tokenize_str(text)]
        fresh = set(words) - self._known.keys()
        if fresh:
            if len(self._known) + len(fresh) > MOST_WORDS:
                self._known.clear()
                fresh = set(words)
            model = self._model(fresh)
            self._known.update((word, [token.id for token in model.tokenize(word)]) for word in fresh)
        known = self._known
        return [token for word in words for token in known[word]]

    def _model(self, words: Collection[str]) -> Any:
        """Return the library's merging of such words."""
        from tokenizers import models

        ids, ranks = self._ids, self._ranks
        pieces: dict[str, int] = {}
        merges: dict[int, tuple[str, str]] = {}
        reach = self._reach if sum(map(len, words)) > MANY_LETTERS else None
        for word in words:
            end = len(word)
            for start in range(end):
                if reach is not None:
                    end = min(len(word), start + reach.get(word[start : start + HEAD], HEAD))
                for stop in range(start + 1, end + 1):
                    piece = word[start:stop]
                    if piece in pieces or piece not in ids:
                        continue
                    pieces[piece] = ids[piece]
                    for cut in range(1, len(piece)):
                        left, right = piece[:cut], piece[cut:]
                        rank = ranks.get(f"{left} {right}")
                        if rank is not None and left in ids and right in ids:
                            merges[rank] = (left, right)
        return models.BPE(pieces, [merges[rank] for rank in sorted(merges)], ignore_merges=self._ignore_merges)

    @cached_property
    def _reach(self) -> dict[str, int]:
        """Letters of the longest token by its first few letters; built for texts of many letters."""
        found: dict[str, int] = {}
        for piece in self._ids:
            if len(piece) > found.get(head := piece[:HEAD], HEAD):
                found[head] = min(len(piece), MAX_PIECE)
        return found


def sentencepiece_encoder(metadata: Metadata, vocabulary: Vocabulary) -> Encoder:
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
    encoder = Tokenizer(model)

    def encode(text: str) -> list[int]:
        ids: list[int] = encoder.encode(text, add_special_tokens=False).ids
        return ids

    return encode


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
