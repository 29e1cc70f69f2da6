"""Token ids to text as they come, never half a character."""

from __future__ import annotations

import codecs
from collections.abc import Iterable

from outpace.text.tokenizer import Tokenizer


class Detokenizer:
    """Streams the text of one answer.

    What `push` and a last `flush` return, joined, is `tokenizer.decode` of all the ids, however they were split.
    Bytes that could still become a character are held back; those that cannot become U+FFFD at once.
    """

    def __init__(self, tokenizer: Tokenizer, *, skip_special: bool = False) -> None:
        self._tokenizer, self._skip_special = tokenizer, skip_special
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, ids: Iterable[int]) -> str:
        """Return the text that these ids complete.

        Raises:
            RequestError: An id is outside the vocabulary.

        Cost: one to two microseconds a token, pushed one by one.
        """
        token_bytes, skip = self._tokenizer.token_bytes, self._skip_special
        return self._decoder.decode(b"".join([token_bytes(token, skip) for token in ids]))

    def flush(self) -> str:
        """Return what was held back, U+FFFD for half a character, and start afresh."""
        return self._decoder.decode(b"", True)
