"""Progress on standard error, for people who wait: nothing for what is over soon or goes to a file."""

from __future__ import annotations

import sys
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# What takes less than this shows no bar, and does not pay for importing one.
PATIENCE_S = 0.5


class Meter:
    """A bar that appears when something takes long; call it with what is done, how much, and of how much.

    State: the bar on the terminal, until `close`.
    """

    def __init__(self, unit: Literal["bytes", "tokens", "answers"] = "bytes") -> None:
        self._unit = unit
        self._is_on = sys.stderr.isatty()
        self._began = perf_counter()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` (0: nobody knows) is done of `what`."""
        if not self._is_on or (self._bar is None and perf_counter() - self._began < PATIENCE_S):
            return
        bar = self._bar or self._open()
        if self._task is None:
            self._task = bar.add_task(what, total=total or None)
        bar.update(self._task, description=what, completed=done, total=total or None)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._is_on = None, False

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _open(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn

        amount = DownloadColumn() if self._unit == "bytes" else MofNCompleteColumn()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), amount, console=Console(stderr=True), transient=True
        )
        self._bar.start()
        return self._bar


def note(text: str) -> None:
    """Say something on standard error that is no part of the answer."""
    sys.stderr.write(f"outpace: {text}\n")
    sys.stderr.flush()
