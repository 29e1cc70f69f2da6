"""A model from elsewhere and the head that comes with outpace, as one file of the cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from outpace.errors import FetchError
from outpace.hub.cache import Progress, drop_parts, lock, part_of, place, require_sha256, require_space, sha256_of
from outpace.hub.source import Expected

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from outpace.hub.catalogue import Entry, Head

_CHUNK = 1 << 22


def path_of(entry: Entry, head: Head, cache: Path) -> Path:
    """Return where a model with its head lies in the cache; another head has another name."""
    return cache / "joined" / f"{entry.name}-{head.joined_sha256[:12]}.gguf"


def is_there(target: Path, head: Head) -> bool:
    """Whether the file is there with the size it should have; its checksum was checked when it was placed."""
    return Expected(size_bytes=head.joined_bytes).is_met(target)


def join_into(target: Path, entry: Entry, head: Head, trunk: Path, progress: Progress) -> None:
    """Make the file of a model and its head; it has its name when it is whole and checked.

    Args:
        target: Where it goes.
        entry: The model.
        head: Its head.
        trunk: The model's file, verified.
        progress: Called as bytes are written.

    Raises:
        FetchError: The head is not there, or a checksum is wrong.
        ModelFileError: The head is for another model.
        ResourceError: The disk is too full.
    """
    with lock(target, progress):
        if is_there(target, head):
            return
        if not head.path.is_file():
            raise FetchError(f"{entry.name}: its head should have come with outpace, and is not at {head.path}")
        require_sha256(str(head.path), sha256_of(head.path), head.sha256)
        require_space(f"joining {entry.name} and its head", target.parent, head.joined_bytes)
        part = part_of(target, head.joined_sha256)
        try:
            write_joined(part, trunk, head.path, progress)
            require_sha256(f"{entry.name} with its head", sha256_of(part), head.joined_sha256)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        place(part, target)
        drop_parts(target)


def write_joined(part: Path, trunk: Path, head: Path, progress: Progress) -> None:
    """Write a model and its head as one file, every tensor byte for byte; the same two always give the same bytes."""
    from outpace.gguf.file import open_gguf
    from outpace.gguf.join import join
    from outpace.gguf.writer import keys_as_they_are, stream_gguf

    with open_gguf(trunk) as ours, open_gguf(head) as theirs:
        file = join(ours, theirs)
        total = sum(info.n_bytes for info in file.tensors.values())
        done = 0

        def pieces(data: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
            nonlocal done
            for start in range(0, len(data), _CHUNK):
                yield data[start : start + _CHUNK]
                done += len(data[start : start + _CHUNK])
                progress("joining the model and its head", done, total)

        tensors = {name: (info.type, info.shape, pieces(file.data(name))) for name, info in file.tensors.items()}
        with part.open("wb") as out:
            stream_gguf(out, keys_as_they_are(file.metadata), tensors)
