"""A value that a thread is making while others are made."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Later(Generic[T]):
    """A value that a thread is making; an error comes out where the value is asked for."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._found: list[T] = []
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="outpace-load", daemon=True)
        self._thread.start()

    def __call__(self) -> T:
        """Return the value, once it is made."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._found[0]

    def _run(self) -> None:
        try:
            self._found.append(self._make())
        except Exception as error:  # noqa: BLE001 - it is raised again where the value is asked for
            self._error = error
