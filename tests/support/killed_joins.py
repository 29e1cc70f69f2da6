"""Run as a program: join a model and its head again and again, each time killed at another point, then to the end.

Each joining is a forked child that kills itself at the n-th line it runs of outpace.hub or of the writer. After every
kill the file must be absent or whole. Prints one JSON object: how many were killed, how many of those had placed the
file, and how many had left a part of it.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from tests.support import joining
from tests.support.killing import each_line, killed_at, take_whole

from outpace.hub import joined
from outpace.hub.cache import silent

LINES_OF = ("hub", "gguf")
N_END, N_ANYWHERE = 15, 25


def main(folder: Path) -> None:
    """Kill joinings, then let one finish."""
    joined._CHUNK = 1 << 10  # so that many lines run while bytes are written
    trunk, head = joining.write_files(folder / "files")
    entry = joining.entry(trunk, head)
    assert entry.head is not None
    expected = head.with_name("attached.gguf").read_bytes()
    cache = folder / "cache"
    target = joined.path_of(entry, entry.head, cache)

    def join() -> None:
        assert entry.head is not None
        joined.join_into(target, entry, entry.head, trunk, silent)

    lines: list[str] = []
    each_line(join, lambda _, file: lines.append(file), LINES_OF)
    assert target.read_bytes() == expected
    target.unlink()
    choose = random.Random(5)
    writing = [n for n, file in enumerate(lines, start=1) if file in ("writer.py", "joined.py")]
    points = [*range(len(lines) - N_END, len(lines) + 1), *choose.sample(writing, N_ANYWHERE)]
    placed = parts = 0
    for kill_at in killed_at(join, points, LINES_OF):
        parts += any(0 < part.stat().st_size < len(expected) for part in target.parent.glob("*.part"))
        placed += take_whole(target, expected, kill_at)
    join()
    assert target.read_bytes() == expected
    names = sorted(path.name for path in cache.rglob("*") if path.is_file())
    print(json.dumps({"killed": len(points), "placed": placed, "parts": parts, "files": names}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
