"""The simple API of package indexes: pages to links, in its HTML and its JSON form. Source: PEP 503, 592, 691."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from outpace.errors import FetchError
from outpace.hub.source import normal_package

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_WHEEL = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(-\d[^-]*)?-[^-]+-[^-]+-(?P<platform>[^-]+)\.whl")
_FINAL = re.compile(r"(\d+!)?\d+(\.\d+)*(\.post\d+)?")


@dataclass(frozen=True)
class Link:
    """A wheel on an index.

    Attributes:
        url: Its address; `file://` for one on this machine.
        filename: The wheel's own name.
        sha256: Checksum in hex, or empty where the index gives none.
        size_bytes: Size, or 0 where the index gives none.
        yanked: Whether the index asks not to choose it unless its version is named.
    """

    url: str
    filename: str
    sha256: str = ""
    size_bytes: int = 0
    yanked: bool = False

    @property
    def package(self) -> str:
        """The package's name as indexes spell it."""
        match = _WHEEL.fullmatch(self.filename)
        return normal_package(match["name"]) if match else ""

    @property
    def version(self) -> str:
        """The version in the wheel's name."""
        match = _WHEEL.fullmatch(self.filename)
        return match["version"] if match else ""

    @property
    def is_final(self) -> bool:
        """Whether the version is a final release: not an alpha, a candidate or a development build."""
        return _FINAL.fullmatch(self.version) is not None

    @property
    def order(self) -> tuple[list[int], bool]:
        """A key that sorts final releases by age, and a wheel for any platform after one for a single platform."""
        release, _, post = self.version.partition(".post")
        epoch, _, numbers = release.rpartition("!")
        key = [int(epoch or 0), *_without_zeros([int(n) for n in numbers.split(".")]), -1, int(post or -1)]
        return key, self.filename.endswith("-any.whl")


def links(body: bytes, content_type: str, url: str) -> list[Link]:
    """Return the wheels that a page of an index names.

    Raises:
        FetchError: The page is not what its content type says.
    """
    if "json" not in content_type:
        page = _Page(url)
        page.feed(body.decode(errors="replace"))
        return [link for link in page.found if link.package]
    try:
        found = [_from_json(item, url) for item in json.loads(body)["files"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FetchError(f"{url}: not a page of a package index: {error}") from error
    return [link for link in found if link.package]


def _from_json(item: dict[str, Any], url: str) -> Link:
    sha256, size = item.get("hashes", {}).get("sha256", ""), item.get("size", 0)
    if not isinstance(sha256, str) or not isinstance(size, int):
        raise TypeError(f"hash or size of {item['filename']}")
    return Link(urljoin(url, item["url"]), item["filename"], sha256, size, bool(item.get("yanked", False)))


class _Page(HTMLParser):
    """Collects the anchors of an HTML page."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.base = url
        self.found: list[Link] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        href = values.get("href")
        if not href:
            return
        if tag == "base":
            self.base = urljoin(self.base, href)
        elif tag == "a":
            address, fragment = urldefrag(urljoin(self.base, href))
            kind, _, digest = fragment.partition("=")
            filename = unquote(urlsplit(address).path.rpartition("/")[2])
            sha256 = digest if kind == "sha256" else ""
            self.found.append(Link(address, filename, sha256, yanked="data-yanked" in values))


def _without_zeros(numbers: list[int]) -> list[int]:
    """1.0 and 1 are one version."""
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers = numbers[:-1]
    return numbers
