"""Work that is killed at a chosen line of outpace, in a forked child."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked child and return its wait status."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    return os.waitpid(child, 0)[1]


def each_line(
    work: Callable[[], object], at_line: Callable[[int, str], None], folders: tuple[str, ...] = ("hub",)
) -> None:
    """Run `work`, calling `at_line` before each line of these folders with its number in the run and its file."""
    n = 0

    def trace(frame: FrameType, event: str, _: object) -> object:
        nonlocal n
        path = Path(frame.f_code.co_filename)
        if path.parent.name not in folders:
            return None
        if event == "line":
            n += 1
            at_line(n, path.name)
        return trace

    sys.settrace(trace)
    work()
    sys.settrace(None)


def files_of_a_whole_run(work: Callable[[], object]) -> list[str]:
    """Return the file of each line that a run to the end goes through."""
    read_end, write_end = os.pipe()
    files: list[str] = []

    def run() -> None:
        each_line(work, lambda _, file: files.append(file))
        os.write(write_end, " ".join(files).encode())  # some kilobytes: fits the pipe

    assert in_child(run) == 0
    return os.read(read_end, 1 << 16).decode().split()


def killed_at(work: Callable[[], object], points: Iterable[int], folders: tuple[str, ...] = ("hub",)) -> Iterator[int]:
    """Run `work` once for each of these lines, in a child that kills itself there; yield the line after each."""
    for kill_at in points:

        def at_line(n: int, _: str, kill_at: int = kill_at) -> None:
            if n == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        in_child(lambda at_line=at_line: each_line(work, at_line, folders))
        yield kill_at


def take_whole(target: Path, expected: bytes, kill_at: int) -> bool:
    """Return whether a killed run had placed its file, which must then be whole, and remove it."""
    if not target.exists():
        return False
    assert target.read_bytes() == expected, f"killed at line {kill_at}: a file that looks whole and is not"
    target.unlink()
    return True
