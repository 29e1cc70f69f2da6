"""A model's config.json: values looked up by key and expected type."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from outpace.convert.safetensors import read_object
from outpace.errors import ModelFileError

MAX_BYTES = 100_000_000  # a tokenizer.json of a quarter of a million tokens has about 20


class Settings:
    """The numbers of a text model; where a file also has other parts, those of its `text_config`.

    Attributes:
        path: The file they come from.
        model_type: The `model_type` they state, an empty string for none.
    """

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        text = values.get("text_config")
        self.path = path
        self._values: Mapping[str, Any] = {**values, **text} if isinstance(text, dict) else values
        self.model_type = self.text("model_type", "")

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._values.get(key) is not None

    def get(self, key: str) -> Any:
        """Return whatever is there, None for nothing."""
        return self._values.get(key)

    def count(self, key: str, default: int | None = None, most: int = 2**31 - 1) -> int:
        """Return a positive whole number, at most `most`.

        Raises:
            ModelFileError: Missing without a default, or something else.
        """
        value = self._values.get(key)
        value = default if value is None else value
        if type(value) is not int or not 0 < value <= most:
            self._fail(key, value, "a whole number from 1" + (f" to {most}" if most < 2**31 - 1 else ""))
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Return a finite number; see `count` for errors."""
        value = self._values.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self._fail(key, value, "a number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false; see `count` for errors."""
        value = self._values.get(key)
        value = default if value is None else value
        if not isinstance(value, bool):
            self._fail(key, value, "true or false")
        return value

    def text(self, key: str, default: str) -> str:
        """Return a string; see `count` for errors."""
        value = self._values.get(key)
        value = default if value is None else value
        if not isinstance(value, str):
            self._fail(key, value, "a string")
        return value

    def table(self, key: str) -> Settings:
        """Return a JSON object, an empty one where there is none; see `count` for errors."""
        value = self._values.get(key)
        value = {} if value is None else value
        if not isinstance(value, dict):
            self._fail(key, value, "a JSON object")
        return Settings(self.path, value)

    def counts(self, key: str) -> list[int] | None:
        """Return a list of whole numbers from 0, None where there is none; see `count` for errors."""
        value = self._values.get(key)
        if value is not None and not (
            isinstance(value, list) and all(type(item) is int and 0 <= item < 2**31 for item in value)
        ):
            self._fail(key, value, "a list of whole numbers")
        return value

    def texts(self, key: str) -> list[str] | None:
        """Return a list of strings, None where there is none; see `count` for errors."""
        value = self._values.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            self._fail(key, value, "a list of strings")
        return value

    def _fail(self, key: str, value: Any, expected: str) -> NoReturn:
        found = "it is missing" if value is None else f"found {value!r:.60}"
        raise ModelFileError(self.path, f"expected {expected}, {found}", f"'{key}'")


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object a file holds, an empty one where there is no such file.

    Raises:
        ModelFileError: It cannot be read, is too long, or is no object.
    """
    if not path.exists():
        return {}
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelFileError(path, f"{path.stat().st_size} bytes; the limit is {MAX_BYTES}")
        return read_object(path, path.read_bytes(), "the file")
    except OSError as error:
        raise ModelFileError(path, f"cannot be read: {error.strerror or error}") from error
