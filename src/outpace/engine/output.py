"""The end of the line: chosen tokens become text, and some of them end it."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outpace.text.stops import StopStrings
    from outpace.text.stream import Detokenizer


class Output:
    """The text of one answer, as it comes.

    Attributes:
        pieces: What was written since `take` was last called.
    """

    __slots__ = ("_detokenizer", "_push", "_stop_ids", "_stops", "pieces")

    def __init__(
        self,
        detokenizer: Detokenizer | None = None,
        stops: StopStrings | None = None,
        stop_ids: Container[int] = (),
    ) -> None:
        """Write text with `detokenizer` (None: tokens only), to end at `stop_ids` or at a stop string."""
        self._detokenizer, self._stops, self._stop_ids = detokenizer, stops, stop_ids
        self._push = None if detokenizer is None else detokenizer.push_token
        self.pieces: list[str] = []

    def push(self, token: int) -> bool:
        """Take the next token; return whether it ends the text."""
        if token in self._stop_ids:
            return True
        if self._push is None:
            return False
        text, is_stopped = self._push(token), False
        if self._stops is not None:
            text, is_stopped = self._stops.push(text)
        if text:
            self.pieces.append(text)
        return is_stopped

    def flush(self) -> None:
        """Write what was held back; call once, at the end."""
        if self._detokenizer is None:
            return
        text = self._detokenizer.flush()
        if self._stops is not None:
            text = self._stops.push(text)[0] + self._stops.flush()
        if text:
            self.pieces.append(text)

    def take(self) -> str:
        """Return the text written since the last call."""
        pieces, self.pieces = self.pieces, []
        return "".join(pieces)
