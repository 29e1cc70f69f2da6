"""Writing a model: types given, room checked, tensors streamed; the file appears whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from outpace.convert.content import Content
from outpace.convert.mix import Mix, type_of
from outpace.convert.quantise import pieces
from outpace.errors import ConfigError, ModelFileError, ResourceError
from outpace.gguf.types import GGMLType
from outpace.gguf.writer import Tensor, alignment_of, header_bytes, tensor_bytes, write_gguf

Progress = Callable[[str, int, int], None]
QUANTIZATION_VERSION: Final = 2  # of the block layouts


def unseen(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written.

    Attributes:
        path: Where it is.
        n_bytes: Its size.
        n_tensors: Tensors it holds.
        types: Bytes by type, most first.
        n_mtp: Layers in it that predict further tokens.
        notes: What a person should know.
        n_medusa: Medusa heads in it.
    """

    path: Path
    n_bytes: int
    n_tensors: int
    types: dict[str, int]
    n_mtp: int
    notes: tuple[str, ...]
    n_medusa: int = 0


def check_target(path: Path, is_forced: bool, name: str = "OUT") -> None:
    """Raise ConfigError, which calls a file by `name`, where it must not or cannot be written."""
    if not path.parent.is_dir():
        raise ConfigError(name, str(path), f"a path in a folder that is there; {path.parent} is none")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(name, str(path), f"a path in a folder that may be written to; {path.parent} may not")
    if path.is_dir() or (path.exists() and not is_forced):
        instead = "a file's name, not a folder's" if path.is_dir() else "a name that is not taken (--force replaces it)"
        raise ConfigError(name, str(path), instead)


def write_model(content: Content, mix: Mix, source: Path, path: Path, n_threads: int, progress: Progress) -> Written:
    """Write a model's file with the types of a mix; see `write_typed`."""
    is_tied = "output.weight" not in content.tensors
    kinds = {name: type_of(mix, name, rows.shape, content.n_layers, is_tied) for name, rows in content.tensors.items()}
    keys = content.keys | {"general.file_type": mix.file_type, "general.quantization_version": QUANTIZATION_VERSION}
    advice = "choose a smaller --type or another disk"
    return write_typed(replace(content, keys=keys), kinds, source, path, n_threads, progress, advice)


def write_typed(
    content: Content,
    kinds: Mapping[str, GGMLType],
    source: Path,
    path: Path,
    n_threads: int,
    progress: Progress,
    advice: str = "choose another disk",
) -> Written:
    """Write a model's file.

    Args:
        content: What it is to hold; its keys are all keys of the file.
        kinds: The type of each tensor; a tensor of a GGUF file that has its type already is copied byte for byte.
        source: Where the content comes from, for messages.
        path: Where to; a file that is there is replaced.
        n_threads: Threads that round.
        progress: Called with what is done, bytes written and bytes in all.
        advice: What to do where the disk is too small.

    Raises:
        ModelFileError: The source is not what its header says, or the disk refuses.
        ResourceError: The disk is too small for the file.

    Cost: memory for some pieces of 4 MB a thread, whatever the size of the model.
    """
    sizes = {name: tensor_bytes(kinds[name], rows.shape) for name, rows in content.tensors.items()}
    total = sum(sizes.values())
    _check_room(content, kinds, sizes, path, advice)
    done = 0

    def counted(data: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        nonlocal done
        for piece in data:
            yield piece
            done += piece.size
            progress(path.name, done, total)

    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="convert")
    try:
        tensors: dict[str, Tensor] = {
            name: (kinds[name], rows.shape, counted(pieces(source, name, rows, kinds[name], pool, 2 * n_threads)))
            for name, rows in content.tensors.items()
        }
        write_gguf(path, content.keys, tensors, is_durable=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceError(f"{path}: the file", total, done, "make room on its disk") from error
        raise ModelFileError(path, f"cannot be written: {error.strerror or error}") from error
    finally:
        pool.shutdown(cancel_futures=True)
    types: Counter[str] = Counter()
    for name, n_bytes in sizes.items():
        types[kinds[name].name] += n_bytes
    n_bytes = path.stat().st_size
    found = dict(types.most_common())
    return Written(path, n_bytes, len(sizes), found, content.n_mtp, content.notes, content.n_medusa)


def _check_room(
    content: Content, kinds: Mapping[str, GGMLType], sizes: Mapping[str, int], path: Path, advice: str
) -> None:
    """Raise ResourceError where the file and its alignment will not fit beside what is on the disk."""
    alignment = alignment_of(content.keys)
    described: dict[str, Tensor] = {name: (kinds[name], rows.shape, b"") for name, rows in content.tensors.items()}
    n_header = len(header_bytes(content.keys, described, alignment, 3))
    needed = n_header + sum(-(-n_bytes // alignment) * alignment for n_bytes in sizes.values()) + alignment
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise ResourceError(f"{path}: the file", needed, free, advice)
