"""Text in the colours of those who proposed it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outpace.engine.result import Piece
    from outpace.text.tokenizer import Tokenizer

RESET = "\x1b[0m"
# Drafter -> escape; what nobody drafted stays plain, and a drafter without a colour of its own gets the last.
COLOURS = {"suffix": "\x1b[32m", "mtp": "\x1b[36m", "medusa": "\x1b[34m", "draft": "\x1b[33m"}
OTHER = "\x1b[35m"

# What a terminal would obey instead of showing: a model may write anything.
_OBEYED = dict.fromkeys([*range(9), 11, 12, *range(14, 32), *range(127, 160)])


def harmless(text: str) -> str:
    """Return a text without the characters that a terminal obeys; tabs and line ends stay."""
    return text.translate(_OBEYED)


class Painter:
    """Colours the text of pieces by the source of the token that each character begins in.

    State: the bytes of tokens whose text is still held back.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._left: deque[list[int | str]] = deque()

    def __call__(self, piece: Piece) -> str:
        """Return a piece's text with escapes; every piece ends plain."""
        for token, source in zip(piece.tokens, piece.sources, strict=True):
            n_bytes = len(self._tokenizer.token_bytes(token, skip_special=True))
            if n_bytes:
                self._left.append([n_bytes, source])
        return self.paint(piece.text)

    def paint(self, text: str) -> str:
        """Return more text of tokens that were seen before."""
        out: list[str] = []
        now = ""
        for letter in harmless(text):
            source = self._take(1 if letter == "\ufffd" else len(letter.encode("utf-8", "replace")))
            if source != now:
                out.append(RESET if now else "")
                out.append(COLOURS.get(source, OTHER) if source else "")
                now = source
            out.append(letter)
        return "".join(out) + (RESET if now else "")

    def _take(self, n_bytes: int) -> str:
        """Return who proposed the next byte, and step over so many."""
        if not self._left:
            return ""
        source = str(self._left[0][1])
        while n_bytes and self._left:
            first = self._left[0]
            taken = min(n_bytes, int(first[0]))
            first[0] = int(first[0]) - taken
            n_bytes -= taken
            if not first[0]:
                self._left.popleft()
        return source
