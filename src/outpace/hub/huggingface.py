"""A GGUF file from the Hugging Face hub: huggingface_hub says what and where, our download brings it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from outpace.errors import FetchError
from outpace.hub.cache import Progress, drop_parts, lock, part_of, place, require_sha256, require_space, sha256_of
from outpace.hub.download import Client, Download
from outpace.hub.source import Expected, HubSource

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class _Remote:
    """What the hub says of one file. `etag` is its SHA-256 where the hub keeps it as a large file."""

    commit: str
    etag: str
    size_bytes: int

    @property
    def sha256(self) -> str:
        """The file's checksum, or empty where the hub gives another kind."""
        return self.etag if _SHA256.fullmatch(self.etag) else ""

    @property
    def tag(self) -> str:
        """A name for these very bytes."""
        return re.sub(r"[^0-9A-Za-z]", "", self.etag)


def fetch(
    source: HubSource,
    cache: Path,
    expected: Expected,
    client: Client,
    progress: Progress,
    endpoint: str | None = None,
) -> Path:
    """Bring a file, or all parts of a split one, into the cache and return the path of the first.

    Args:
        source: The repository, the file and the revision.
        cache: The cache folder.
        expected: What is known of the file beforehand; a split file's parts have the hub's word alone.
        client: How to reach the servers that hold the bytes.
        progress: Called as bytes arrive.
        endpoint: Address of the hub; None for HF_ENDPOINT, or the public one.

    Raises:
        FetchError: The hub does not have the file or does not give it, or a checksum is wrong.
        ResourceError: The disk is too full.
    """
    place_of = partial(hf_hub_url, f"{source.owner}/{source.repo}", endpoint=endpoint)
    files = source.files()
    targets = [source.path(cache, file) for file in files]
    revision = source.revision
    with lock(targets[0], progress):
        for file, target in zip(files, targets, strict=True):
            known = expected if len(files) == 1 else Expected()
            if known.is_met(target):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            remote = _ask(source, file, revision, place_of(file, revision=revision))
            revision = remote.commit  # all parts from one commit, whatever is pushed meanwhile
            token = get_token()
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            download = Download(place_of(file, revision=revision), file, remote.size_bytes, headers)
            with_hash = known.sha256 or remote.sha256
            _bring(source, download, part_of(target, remote.tag), target, with_hash, client, progress)
    return targets[0]


def _ask(source: HubSource, file: str, revision: str, url: str) -> _Remote:
    repo = f"{source.owner}/{source.repo}"
    try:
        found = get_hf_file_metadata(url)
    except GatedRepoError as error:
        raise FetchError(
            f"{source}: {repo} asks to accept its terms on its page and to log in with `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise FetchError(f"{source}: no repository {repo}, or it is private and needs `hf auth login`") from error
    except RevisionNotFoundError as error:
        raise FetchError(f"{source}: {repo} has no revision {revision}") from error
    except EntryNotFoundError as error:
        raise FetchError(f"{source}: {repo} has no file {file} at {revision}") from error
    # The hub library's HTTP library differs by version, and so do the classes of its errors.
    except Exception as error:
        raise FetchError(f"{source}: the hub cannot be asked: {_first_line(error)}") from error
    if found.commit_hash is None or found.etag is None:
        raise FetchError(f"{source}: the server at {found.location} does not speak the hub's protocol")
    return _Remote(found.commit_hash, found.etag, found.size or 0)


def _bring(
    source: HubSource, download: Download, part: Path, target: Path, sha256: str, client: Client, progress: Progress
) -> None:
    kept = part.stat().st_size if part.exists() else 0
    require_space(f"fetching {download.what}", target.parent, download.total_bytes - kept)
    download.into(part, client, progress)
    if sha256:
        try:
            require_sha256(str(source), sha256_of(part), sha256)
        except FetchError:
            part.unlink()
            raise
    place(part, target)
    drop_parts(target)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
