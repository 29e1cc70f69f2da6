"""A file's key-value pairs, looked up by key and expected type; strings are decoded when asked for."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import Enum
from types import MappingProxyType
from typing import Any, Literal, NoReturn, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from outpace.errors import ModelFileError
from outpace.gguf import strings
from outpace.gguf.cursor import Cursor, shown
from outpace.gguf.types import FLOAT_TYPES, INTEGER_TYPES, NUMPY_TYPE, ValueType

MAX_KEYS = 16384
MAX_KEY_BYTES = 65535

D = TypeVar("D")


class Missing(Enum):
    """The default of a look-up that has none."""

    MISSING = 0


MISSING = Missing.MISSING


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a value lies in a file, and what it is.

    Attributes:
        kind: The value's type, or the type of an array's items.
        count: Items of an array; None for a single value.
        start: Offset of the first byte: of a string's text, of an array's first item.
        end: Offset after the last byte.
        view: The file's bytes.
    """

    kind: ValueType
    count: int | None
    start: int
    end: int
    view: memoryview = field(repr=False, compare=False)

    @property
    def type_name(self) -> str:
        """The type as a person reads it: `uint32`, `array of 12 string`."""
        name = self.kind.name.lower()
        return name if self.count is None else f"array of {self.count} {name}"


class Metadata(Mapping[str, Any]):
    """The metadata of a model: a mapping of keys to Python values, and look-ups by type.

    `metadata[key]` gives int, float, bool or str; an array is a read-only numpy array or a tuple of str. The look-ups
    (`str`, `int`, `ints`, ...) also check the type. All of them raise ModelFileError for damaged text.

    Source: the GGUF specification.
    """

    def __init__(
        self, path: object, entries: Mapping[str, Entry], elsewhere: Mapping[str, object] = MappingProxyType({})
    ) -> None:
        """Take entries; errors name `path`, or of keys that another file brought, that of `elsewhere`."""
        self._path, self._entries, self._elsewhere = path, dict(entries), elsewhere

    def __iter__(self) -> Iterator[builtins.str]:
        return iter(self._entries)

    def __len__(self) -> builtins.int:
        return len(self._entries)

    def __contains__(self, key: object) -> builtins.bool:
        return key in self._entries

    def __getitem__(self, key: builtins.str) -> Any:
        return self._value(key, self._entries[key])

    def __repr__(self) -> builtins.str:
        lines = [f"  {shown(key)}: {entry.type_name}{self._preview(entry)}" for key, entry in self._entries.items()]
        return "\n".join([f"Metadata({len(self)} keys)", *lines])

    def path_of(self, key: builtins.str) -> object:
        """Return the file that a key is in, or would be in."""
        return self._elsewhere.get(key, self._path)

    def entry(self, key: builtins.str) -> Entry:
        """Return where and what the value of `key` is; KeyError where there is none."""
        return self._entries[key]

    @overload
    def str(self, key: builtins.str) -> builtins.str: ...
    @overload
    def str(self, key: builtins.str, default: D) -> builtins.str | D: ...
    def str(self, key: builtins.str, default: Any = MISSING) -> Any:
        """Return a string.

        Args:
            key: Its key.
            default: Returned where the key is missing; without one a missing key is an error.

        Raises:
            ModelFileError: Missing (names near keys), of another type (names both), or not UTF-8.
        """
        return self._look_up(key, "string", frozenset({ValueType.STRING}), False, default)

    @overload
    def int(self, key: builtins.str) -> builtins.int: ...
    @overload
    def int(self, key: builtins.str, default: D) -> builtins.int | D: ...
    def int(self, key: builtins.str, default: Any = MISSING) -> Any:
        """Return an integer of any width; see `str` for arguments and errors."""
        return self._look_up(key, "integer", INTEGER_TYPES, False, default)

    @overload
    def float(self, key: builtins.str) -> builtins.float: ...
    @overload
    def float(self, key: builtins.str, default: D) -> builtins.float | D: ...
    def float(self, key: builtins.str, default: Any = MISSING) -> Any:
        """Return a float; see `str` for arguments and errors."""
        return self._look_up(key, "float", FLOAT_TYPES, False, default)

    @overload
    def bool(self, key: builtins.str) -> builtins.bool: ...
    @overload
    def bool(self, key: builtins.str, default: D) -> builtins.bool | D: ...
    def bool(self, key: builtins.str, default: Any = MISSING) -> Any:
        """Return a truth value; see `str` for arguments and errors."""
        return self._look_up(key, "bool", frozenset({ValueType.BOOL}), False, default)

    @overload
    def strs(self, key: builtins.str) -> tuple[builtins.str, ...]: ...
    @overload
    def strs(self, key: builtins.str, default: D) -> tuple[builtins.str, ...] | D: ...
    def strs(self, key: builtins.str, default: Any = MISSING) -> Any:
        """Return an array of strings, decoded now; see `str` for arguments and errors."""
        return self._look_up(key, "array of string", frozenset({ValueType.STRING}), True, default)

    @overload
    def ints(self, key: builtins.str) -> NDArray[np.integer[Any]]: ...
    @overload
    def ints(self, key: builtins.str, default: D) -> NDArray[np.integer[Any]] | D: ...
    def ints(self, key: builtins.str, default: Any = MISSING) -> Any:
        """Return an array of integers, [n] read-only in the file's width; see `str` for arguments and errors."""
        return self._look_up(key, "array of integer", INTEGER_TYPES, True, default)

    @overload
    def floats(self, key: builtins.str) -> NDArray[np.floating[Any]]: ...
    @overload
    def floats(self, key: builtins.str, default: D) -> NDArray[np.floating[Any]] | D: ...
    def floats(self, key: builtins.str, default: Any = MISSING) -> Any:
        """Return an array of floats, [n] read-only in the file's width; see `str` for arguments and errors."""
        return self._look_up(key, "array of float", FLOAT_TYPES, True, default)

    @overload
    def bools(self, key: builtins.str) -> NDArray[np.bool_]: ...
    @overload
    def bools(self, key: builtins.str, default: D) -> NDArray[np.bool_] | D: ...
    def bools(self, key: builtins.str, default: Any = MISSING) -> Any:
        """Return an array of truth values, [n] read-only; see `str` for arguments and errors."""
        return self._look_up(key, "array of bool", frozenset({ValueType.BOOL}), True, default)

    def _look_up(
        self,
        key: builtins.str,
        expected: builtins.str,
        kinds: frozenset[ValueType],
        is_array: Literal[True, False],
        default: Any,
    ) -> Any:
        entry = self._entries.get(key)
        if entry is None:
            if default is not MISSING:
                return default
            self._fail_missing(key, expected)
        # An empty array of any type is an empty array of the expected one: writers choose its type freely.
        if (entry.count is not None) != is_array or (entry.kind not in kinds and entry.count != 0):
            self._fail(key, f"expected {expected}, found {entry.type_name}{self._preview(entry)}")
        if entry.count == 0 and entry.kind not in kinds:
            entry = Entry(min(kinds), 0, entry.start, entry.start, entry.view)
        return self._value(key, entry)

    def _value(self, key: builtins.str, entry: Entry) -> Any:
        if entry.kind is ValueType.STRING:
            if entry.count is None:
                return builtins.str(entry.view[entry.start : entry.end], "utf-8")
            return self._strings(key, entry)
        dtype = np.dtype(NUMPY_TYPE[entry.kind])
        items = np.frombuffer(entry.view, dtype, 1 if entry.count is None else entry.count, entry.start)
        if entry.kind is ValueType.BOOL:
            items = items.view(np.bool_)
        return items[0].item() if entry.count is None else items

    def _strings(self, key: builtins.str, entry: Entry) -> tuple[builtins.str, ...]:
        try:
            return strings.decode(entry.view[entry.start : entry.end], entry.count or 0)
        except UnicodeDecodeError as error:
            self._fail(key, f"the string {error.object!r:.80} is not UTF-8 ({error.reason})")

    def _preview(self, entry: Entry) -> builtins.str:
        if entry.count is not None:
            return ""
        if entry.kind is ValueType.STRING:
            piece = bytes(entry.view[entry.start : min(entry.end, entry.start + 60)]).decode(errors="ignore")
            return f" {piece!r}{'...' if entry.end - entry.start > 60 else ''}"
        return f" {self._value('', entry)!r}"

    def _fail_missing(self, key: builtins.str, expected: builtins.str) -> NoReturn:
        near = get_close_matches(key, self._entries, n=3, cutoff=0.6)
        hint = f"; near it: {', '.join(map(shown, near))}" if near else ""
        self._fail(key, f"the key is missing (expected {expected}){hint}")

    def _fail(self, key: builtins.str, problem: builtins.str) -> NoReturn:
        raise ModelFileError(self.path_of(key), problem, f"metadata '{shown(key)}'")


def read_metadata(cursor: Cursor, n_keys: builtins.int) -> Metadata:
    """Walk `n_keys` key-value pairs, checking types, bounds, truth values and single strings.

    Raises:
        ModelFileError: Anything is cut short, duplicated, of an unknown type, or an array of arrays.
    """
    entries: dict[str, Entry] = {}
    for index in range(n_keys):
        key = cursor.text(f"metadata key {index}", MAX_KEY_BYTES)
        if key in entries:
            cursor.fail("the key occurs twice", f"metadata '{shown(key)}'")
        entries[key] = _read_entry(cursor, f"metadata '{shown(key)}'")
    return Metadata(cursor.path, entries)


def _read_entry(cursor: Cursor, where: str) -> Entry:
    kind = _read_type(cursor, where)
    if kind is not ValueType.ARRAY:
        if kind is ValueType.STRING:
            return Entry(kind, None, cursor.skip_text(where), cursor.at, cursor.view)
        start = cursor.skip(np.dtype(NUMPY_TYPE[kind]).itemsize, where)
        _check_bools(cursor, kind, start, where)
        return Entry(kind, None, start, cursor.at, cursor.view)
    kind = _read_type(cursor, where)
    if kind is ValueType.ARRAY:
        cursor.fail("is an array of arrays, which GGUF readers do not support", where)
    if kind is ValueType.STRING:
        count = cursor.count(f"the length of {where}", 8)
        return Entry(kind, count, cursor.skip_texts(count, where), cursor.at, cursor.view)
    item_bytes = np.dtype(NUMPY_TYPE[kind]).itemsize
    count = cursor.count(f"the length of {where}", item_bytes)
    start = cursor.skip(count * item_bytes, where)
    _check_bools(cursor, kind, start, where)
    return Entry(kind, count, start, cursor.at, cursor.view)


def _read_type(cursor: Cursor, where: str) -> ValueType:
    number = cursor.u32(f"the type of {where}")
    try:
        return ValueType(number)
    except ValueError:
        cursor.fail(f"value type {number} is unknown (0 to {max(ValueType)} are defined)", where)


def _check_bools(cursor: Cursor, kind: ValueType, start: builtins.int, where: str) -> None:
    if kind is ValueType.BOOL and cursor.at > start:
        largest = int(np.frombuffer(cursor.view, np.uint8, cursor.at - start, start).max())
        if largest > 1:
            cursor.fail(f"a bool holds the byte {largest}; 0 or 1 expected", where)
