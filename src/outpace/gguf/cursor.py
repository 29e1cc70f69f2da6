"""A reading position in hostile bytes: every step is checked against the end before it is taken."""

from __future__ import annotations

import codecs
import struct
from typing import NoReturn

from outpace.errors import ModelFileError, readable_bytes
from outpace.gguf import strings

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_CHECK_BYTES = 1 << 16  # text is checked in pieces, so that checking a long string allocates little


def shown(name: str) -> str:
    """Return a name as a sentence can hold it: cut off where it is very long."""
    return name if len(name) <= 100 else f"{name[:97]}..."


class Cursor:
    """Reads little-endian values forward through a buffer.

    State: `at`, the byte offset of the next read.
    """

    def __init__(self, path: object, view: memoryview) -> None:
        self.path, self.view, self.at, self.end = path, view, 0, len(view)

    def fail(self, problem: str, where: str = "") -> NoReturn:
        """Raise ModelFileError about this file."""
        raise ModelFileError(self.path, problem, where)

    def skip(self, n_bytes: int, what: str) -> int:
        """Step over `n_bytes` and return where they began.

        Raises:
            ModelFileError: The file ends before.
        """
        start = self.at
        if n_bytes > self.end - start:
            self.fail(
                f"the file ends inside {what}: {readable_bytes(n_bytes)} are needed at byte {start}, "
                f"{readable_bytes(self.end - start)} remain"
            )
        self.at = start + n_bytes
        return start

    def u32(self, what: str) -> int:
        """Read an unsigned 32-bit integer."""
        value: int = _U32.unpack_from(self.view, self.skip(4, what))[0]
        return value

    def u64(self, what: str) -> int:
        """Read an unsigned 64-bit integer."""
        value: int = _U64.unpack_from(self.view, self.skip(8, what))[0]
        return value

    def count(self, what: str, item_bytes: int, limit: int | None = None) -> int:
        """Read a count of items that each take at least `item_bytes` of what remains.

        Raises:
            ModelFileError: More than the rest of the file can hold, or more than `limit`.
        """
        n = self.u64(what)
        fits = (self.end - self.at) // item_bytes
        if n > fits:
            self.fail(f"{what} is {n}, but the rest of the file has room for {fits} at most")
        if limit is not None and n > limit:
            self.fail(f"{what} is {n}; the limit is {limit}")
        return n

    def text(self, what: str, limit: int) -> str:
        """Read a name: a 64-bit length, then that many bytes of UTF-8.

        Raises:
            ModelFileError: Longer than `limit` or than the file, not UTF-8, or not printable on one line.
        """
        n = self.u64(f"the length of {what}")
        if n > limit:
            self.fail(f"{what} is {n} bytes long; the limit is {limit}")
        start = self.skip(n, what)
        try:
            name = str(self.view[start : self.at], "utf-8")
        except UnicodeDecodeError as error:
            self.fail(f"{what} at byte {start} is not UTF-8 ({error.reason})")
        if not name.isprintable():
            self.fail(f"{what} at byte {start} holds characters that cannot be printed: {shown(repr(name))}")
        return name

    def skip_text(self, what: str) -> int:
        """Step over a string of any length, checking that it is UTF-8, and return where its bytes begin."""
        start = self.skip(self.u64(f"the length of {what}"), what)
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            for piece in range(start, self.at, _CHECK_BYTES):
                stop = min(piece + _CHECK_BYTES, self.at)
                decoder.decode(self.view[piece:stop], final=stop == self.at)
        except UnicodeDecodeError as error:
            self.fail(f"{what} at byte {start} is not UTF-8 ({error.reason})")
        return start

    def skip_texts(self, n: int, what: str) -> int:
        """Step over `n` strings without decoding them and return where the first begins (its length field)."""
        start = self.at
        end = strings.end_of(self.view, start, n)
        if end is None:
            self.fail(f"the file ends inside {what}")
        self.at = end
        return start
