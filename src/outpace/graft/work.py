"""The folder that training works in: what is there is whole, whatever moment the work was stopped at."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from outpace.errors import ConfigError, ModelFileError
from outpace.gguf.file import GGUFFile

_SAMPLED_BYTES = 1 << 20  # of each tensor, for telling one model from another


@contextmanager
def work_folder(out: Path, work: Path | None = None) -> Iterator[Path]:
    """Hold the work folder of a file that is to be written, or the one given; makes it where it is not there.

    It is held as long as the process lives, however that ends.

    Raises:
        ConfigError: There can be no such folder, or another process holds it.
    """
    found = out.with_name(out.name + ".graft") if work is None else work
    if not found.parent.is_dir() or (found.exists() and not found.is_dir()):
        raise ConfigError("--work", str(found), "a folder, or a name for one in a folder that is there")
    found.mkdir(exist_ok=True)
    with (found / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError("--work", str(found), "a folder in which no other training is under way") from None
        # What a stopped run had begun.
        for each in [*found.rglob(".*.part"), *out.parent.glob(f".{glob.escape(out.name)}.*.part")]:
            shutil.rmtree(each) if each.is_dir() else each.unlink()
        yield found


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path to write to; what was written appears as `path` at the end, on the disk, or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give a folder to write files into; it appears as `path` at the end, with all of them on the disk."""
    part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part"))
    yield part
    for each in part.iterdir():
        with each.open("rb") as file:
            os.fsync(file.fileno())
    part.replace(path)


def identity(file: GGUFFile) -> str:
    """Return a few letters that tell this model from others: of all its keys and a part of every tensor."""
    found = hashlib.sha256(json.dumps([str(file.file_bytes), sorted(file.tensors)]).encode())
    for key in file.metadata:
        entry = file.metadata.entry(key)
        found.update(f"{key}: {entry.type_name} ".encode())
        found.update(entry.view[entry.start : entry.end])
    for name in file.tensors:
        found.update(file.data(name)[:_SAMPLED_BYTES].tobytes())
    return found.hexdigest()[:16]


def damaged(path: Path) -> ModelFileError:
    """Return what to say of something in a work folder that is not as it was left there."""
    return ModelFileError(path, "is damaged; remove it, and it is made again")


def kept_settings(path: Path) -> dict[str, Any]:
    """Return the settings that work was begun with, none where it was not.

    Raises:
        ModelFileError: They cannot be read.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise damaged(path)
    return found


def agree(path: Path, settings: Mapping[str, Any], instead: str) -> None:
    """Keep the settings that work was begun with, or compare with those that were kept.

    Args:
        path: Where they are kept.
        settings: Those of this run; what JSON can hold.
        instead: What a person can do who wants the others.

    Raises:
        ConfigError: A setting is another than before.
        ModelFileError: Those that were kept cannot be read.
    """
    if not path.exists():
        with whole_file(path) as part:
            part.write_text(json.dumps(dict(settings), indent=2) + "\n", encoding="utf-8")
        return
    before = kept_settings(path)
    for name, value in json.loads(json.dumps(dict(settings))).items():
        if before.get(name) != value:
            found, expected = (str(each)[:60] for each in (value, before.get(name)))
            raise ConfigError(name, found, f"{expected}, as when this work was begun, {instead}")
