"""A GGUF file from the Hugging Face hub: huggingface_hub says what and where, our download brings it."""

from __future__ import annotations

import re
from dataclasses import dataclass
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


def fetch(source: HubSource, cache: Path, expected: Expected, client: Client, progress: Progress) -> Path:
    """Bring a file, or all parts of a split one, into the cache and return the path of the first.

    Args:
        source: The repository, the file and the revision.
        cache: The cache folder.
        expected: What is known of the file beforehand; a split file's parts have the hub's word alone.
        client: How to reach the servers that hold the bytes.
        progress: Called as bytes arrive.

    Raises:
        FetchError: The hub does not have the file or does not give it, or a checksum is wrong.
        ResourceError: The disk is too full.
    """
    files = source.files()
    targets = [source.path(cache, file) for file in files]
    revision = source.revision
    with lock(targets[0], progress):
        for file, target in zip(files, targets, strict=True):
            known = expected if len(files) == 1 else Expected()
            if known.is_met(target):
                continue
            remote = _ask(source, file, revision)
            revision = remote.commit  # all parts from one commit, whatever is pushed meanwhile
            _bring(source, file, remote, target, known.sha256, client, progress)
    return targets[0]


def _ask(source: HubSource, file: str, revision: str) -> _Remote:
    repo = f"{source.owner}/{source.repo}"
    try:
        found = get_hf_file_metadata(hf_hub_url(repo, file, revision=revision))
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
    except Exception as error:  # noqa: BLE001
        raise FetchError(f"{source}: the hub cannot be asked: {_first_line(error)}") from error
    if found.commit_hash is None or found.etag is None:
        raise FetchError(f"{source}: the server at {found.location} does not speak the hub's protocol")
    return _Remote(found.commit_hash, found.etag, found.size or 0)


def _bring(
    source: HubSource, file: str, remote: _Remote, target: Path, sha256: str, client: Client, progress: Progress
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(target, re.sub(r"[^0-9A-Za-z]", "", remote.etag))
    url = hf_hub_url(f"{source.owner}/{source.repo}", file, revision=remote.commit)
    require_space(f"fetching {file}", target.parent, remote.size_bytes - (part.stat().st_size if part.exists() else 0))
    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    download = Download(url, file, remote.size_bytes, headers)
    download.into(part, client, progress)
    found = sha256_of(part)
    expected = sha256 or (remote.etag if _SHA256.fullmatch(remote.etag) else found)
    try:
        require_sha256(str(source), found, expected)
    except FetchError:
        part.unlink()
        raise
    place(part, target)
    drop_parts(target)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
