"""Token ids to text as they come, never half a character."""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Iterable

from outpace.text.tokenizer import Tokenizer


class Detokenizer:
    """Streams the text of one answer.

    What `push` and a last `flush` return, joined, is `tokenizer.decode` of all the ids, however they were split.
    Bytes that could still become a character are held back; those that cannot become U+FFFD at once.
    """

    __slots__ = ("_held", "_skip_special", "_tokenizer", "_whole")

    def __init__(self, tokenizer: Tokenizer, *, skip_special: bool = False) -> None:
        self._tokenizer, self._skip_special = tokenizer, skip_special
        self._whole = tokenizer.whole_texts[skip_special]
        self._held = b""

    def push(self, ids: Iterable[int]) -> str:
        """Return the text that these ids complete.

        Raises:
            RequestError: An id is outside the vocabulary.
        """
        return "".join([self.push_token(token) for token in ids])

    def push_token(self, token: int) -> str:
        """Return the text that one more id completes; see `push`.

        Cost: a look-up for a token that was seen before and is no part of a character.
        """
        held = self._held
        if not held and (text := self._whole.get(token)) is not None:
            return text
        data = held + self._tokenizer.token_bytes(token, self._skip_special)
        text, n = utf_8_decode(data, "replace", False)
        self._held = data[n:]
        if not held and n == len(data):
            self._whole[token] = text
        return text

    def flush(self) -> str:
        """Return what was held back, U+FFFD for half a character, and start afresh."""
        held, self._held = self._held, b""
        return held.decode("utf-8", "replace")
