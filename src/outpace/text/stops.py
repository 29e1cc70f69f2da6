"""Stop strings found in streamed text, across the borders of its pieces."""

from __future__ import annotations

from collections.abc import Iterable

from outpace.errors import RequestError


class StopStrings:
    """Cuts a stream at the first stop string.

    First is the one that ends first; of those that end together, the longest. So the cut does not depend on how the
    text was split. Text is held back only while it could still become a stop string.

    Attributes:
        matched: The stop string that ended the stream, None until then.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        self._stops = tuple(dict.fromkeys(stops))
        if "" in self._stops:
            raise RequestError("a stop string is empty; it would stop before the first character")
        self._longest = max(map(len, self._stops), default=0)
        self._held = ""
        self.matched: str | None = None

    def push(self, text: str) -> tuple[str, bool]:
        """Take the next piece of text.

        Returns:
            What may be shown now, and whether a stop string was met. After that every push returns `("", True)`.
        """
        if self.matched is not None:
            return "", True
        text = self._held + text
        found = [(at + len(stop), at, stop) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            _, at, self.matched = min(found)
            self._held = ""
            return text[:at], True
        keep = self._possible(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def flush(self) -> str:
        """Return the text held back, at the end of a stream that met no stop string."""
        text, self._held = self._held, ""
        return text

    def _possible(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        for length in range(min(len(text), self._longest - 1), 0, -1):
            end = text[-length:]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
