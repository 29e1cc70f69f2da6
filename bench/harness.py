"""Runs A and B in turns and says which is faster, or that nobody can tell; the card of the machine it ran on."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"

T = TypeVar("T")


def interleave(
    arms: Mapping[str, Callable[[], T]], rounds: int, tell: Callable[[str], None] = lambda _: None
) -> dict[str, list[T]]:
    """Run every arm once a round, the order turned round each time, so that drift is nobody's.

    Args:
        arms: What is to be compared, by name.
        rounds: How often each is run.
        tell: Called with a word before each run.
    """
    found: dict[str, list[T]] = {name: [] for name in arms}
    for i in range(rounds):
        for name in list(arms) if i % 2 == 0 else reversed(list(arms)):
            tell(f"round {i + 1}/{rounds}: {name}")
            found[name].append(arms[name]())
    return found


def card(
    path: Path | None = None, *, tier: str | None = None, threads: int | None = None, gbps: float | None = None
) -> dict[str, Any]:
    """Return what a number is worthless without: machine, settings, commit, file."""
    found: dict[str, Any] = {"cpu": _cpu(), "cpus": os.cpu_count()}
    for name, value in (("tier", tier), ("threads", threads), ("read_gbps", gbps)):
        if value is not None:
            found[name] = round(value, 2) if isinstance(value, float) else value
    found |= {"load_average": round(os.getloadavg()[0], 2), "commit": _commit()}
    if path is not None:
        found |= {"file": path.name, "sha256": file_hash(path)}
    return found


def file_hash(path: Path) -> str:
    """Return the first 16 digits of a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def code_hash() -> str:
    """Return a hash of everything that may change a token: the package's Python and its native module."""
    from outpace import _native

    digest = hashlib.sha256(Path(_native.__file__).read_bytes())
    for path in sorted((ROOT / "src" / "outpace").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def table(rows: Sequence[Sequence[object]], head: Sequence[str]) -> str:
    """Return rows for people: the first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = []
    for row in cells:
        padded = [cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(padded))
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def finish(name: str, result: dict[str, Any], details: dict[str, Any] | None = None) -> None:
    """Keep the full result in `bench/results` and print it, without the details, as one line of JSON."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps({"bench": name} | result | (details or {}), indent=1) + "\n")
    print(json.dumps({"bench": name} | result))


def child(module: str, *arguments: object, timeout: float | None = None) -> dict[str, Any]:
    """Run a bench module in a process of its own; return the JSON of its last line.

    Raises:
        SystemExit: It failed; what it said is shown.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT)
    if run.returncode:
        raise SystemExit(f"{' '.join(command[1:])} ended with {run.returncode}\n{run.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def program() -> list[str]:
    """Return how to start the command line that belongs to this Python."""
    script = Path(sys.executable).with_name("outpace")
    return [str(script)] if script.exists() else [sys.executable, "-m", "outpace"]


def cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def say(text: str) -> None:
    """Print progress to stderr."""
    print(text, file=sys.stderr, flush=True)


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return os.uname().machine


def _commit() -> str:
    def git(*arguments: str) -> str:
        run = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, cwd=ROOT)
        return run.stdout.strip() if run.returncode == 0 else ""

    commit = git("rev-parse", "--short", "HEAD") or "unknown"
    return f"{commit}+changes" if git("status", "--porcelain", "--untracked-files=no", "src", "native") else commit
