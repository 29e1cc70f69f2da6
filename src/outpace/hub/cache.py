"""The cache folder: one lock per file, and a file has its name only when it is whole."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from outpace.errors import FetchError, ResourceError

# what is being done, bytes done, bytes in all (0 when not known)
Progress = Callable[[str, int, int], None]


def silent(what: str, done: int, total: int) -> None:
    """Report progress to nobody."""


@contextmanager
def lock(target: Path, progress: Progress) -> Iterator[None]:
    """Hold the right to write `target`; waits for another process that is fetching it.

    The lock goes with the process, however it ends. Its file stays behind, empty, and means nothing.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(target.name + ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another fetch of {target.name}", 0, 0)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def part_of(target: Path, version: str) -> Path:
    """Return the partial file for `target`; another `version` of its bytes gets another name, so two never mix."""
    return target.with_name(f"{target.name}.{version[:16]}.part")


def place(part: Path, target: Path) -> None:
    """Give a whole and verified file its name; what the name says survives a power cut, as does the content."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def drop_parts(target: Path) -> None:
    """Remove every partial file of `target`."""
    for part in target.parent.glob("*.part"):
        if part.name.startswith(target.name + "."):
            part.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    import hashlib  # costs some milliseconds that a cached model need not pay

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_sha256(what: str, found: str, expected: str) -> None:
    """Raise FetchError unless two checksums are the same."""
    if found != expected.lower():
        raise FetchError(f"{what}: the checksum is wrong: sha256 {found}, expected {expected}")


def require_space(what: str, folder: Path, needed_bytes: int) -> None:
    """Raise ResourceError unless the disk that holds `folder` has that much room."""
    stat = os.statvfs(folder)
    free = stat.f_bavail * stat.f_frsize
    if needed_bytes > free:
        raise ResourceError(
            f"{what} (disk, in {folder})", needed_bytes, free, "OUTPACE_CACHE names another folder to keep models in"
        )
