"""HTTP downloads that go on where they stopped."""

from __future__ import annotations

import base64
import functools
import http.client
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import IO, cast
from urllib.parse import unquote, urlsplit, urlunsplit

from outpace.errors import FetchError
from outpace.hub.cache import Progress

_CHUNK = 1 << 18
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


@dataclass(frozen=True)
class Client:
    """How to reach servers.

    Attributes:
        cert: File or folder of certificates to trust; empty for the system's.
        proxy: Proxy for every request; empty for what the environment says.
        trusted_hosts: Hosts whose certificates are not checked.
        timeout_s: How long a server may stay silent.
        pauses_s: The wait before each new attempt; an attempt that brought bytes starts the list again.
    """

    cert: str = ""
    proxy: str = ""
    trusted_hosts: tuple[str, ...] = ()
    timeout_s: float = 60.0
    pauses_s: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0)

    def open(self, url: str, headers: Mapping[str, str]) -> IO[bytes]:
        """Send a GET and return the response; a user and password in the address go into a header.

        Raises:
            OSError: The server cannot be reached, or answers with an error (urllib's HTTPError).
        """
        parts = urlsplit(url)
        bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
        request = urllib.request.Request(bare, headers={"User-Agent": "outpace", "Accept-Encoding": "identity"})
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers = {**headers, "Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
        for name, value in headers.items():
            # Credentials are for this server alone, not for one that it redirects to.
            add = request.add_unredirected_header if name.lower() == "authorization" else request.add_header
            add(name, value)
        context = _context(self.cert, is_trusted=parts.hostname in self.trusted_hosts)
        handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=context)]
        if self.proxy:
            handlers.append(urllib.request.ProxyHandler({"http": self.proxy, "https": self.proxy}))
        return cast(IO[bytes], urllib.request.build_opener(*handlers).open(request, timeout=self.timeout_s))


@dataclass(frozen=True)
class Download:
    """One file to bring: its address, its name for people, its size if known (0 if not), and extra headers."""

    url: str
    what: str
    total_bytes: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)

    def into(self, part: Path, client: Client, progress: Progress) -> None:
        """Bring the whole file into `part`, going on from the bytes that are there.

        A dropped connection is taken up again. The caller checks the content: that is what makes it safe to go on
        from bytes of an earlier run.

        Raises:
            FetchError: The server refuses, or stays away for as long as the client's pauses last.
        """
        best, failures = -1, 0
        while True:
            problem = self._attempt(part, client, progress)
            if not problem:
                return
            have = _size(part)
            failures = 0 if have > best else failures + 1
            best = max(best, have)
            if failures >= len(client.pauses_s):
                raise FetchError(f"{self.what}: {problem} ({redacted(self.url)}); {have} bytes are kept to go on from")
            time.sleep(client.pauses_s[failures])

    def _attempt(self, part: Path, client: Client, progress: Progress) -> str:
        """Download until the end or the first trouble; return what the trouble was, or an empty string."""
        have = _size(part)
        if self.total_bytes and have >= self.total_bytes:
            if have == self.total_bytes:
                return ""
            part.unlink()
            have = 0
        try:
            with client.open(self.url, {**self.headers, **({"Range": f"bytes={have}-"} if have else {})}) as response:
                return self._receive(cast(http.client.HTTPResponse, response), part, have, progress)
        except urllib.error.HTTPError as error:
            return self._refused(error, part, have)
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise FetchError(f"{self.what}: {error.reason} ({redacted(self.url)})") from error
            return f"cannot be reached: {error.reason}"
        except (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError) as error:
            return f"the connection broke: {error or type(error).__name__}"

    def _refused(self, error: urllib.error.HTTPError, part: Path, have: int) -> str:
        if error.code == 416 and have:
            if _content_range(error.headers) == (None, have):
                return ""
            part.unlink(missing_ok=True)
            return "the server has fewer bytes than were kept"
        if error.code in (408, 429) or error.code >= 500:
            return f"the server answers {error.code} {error.reason}"
        raise FetchError(
            f"{self.what}: the server answers {error.code} {error.reason} ({redacted(self.url)})"
        ) from error

    def _receive(self, response: http.client.HTTPResponse, part: Path, have: int, progress: Progress) -> str:
        start, total = 0, response.length or 0
        if response.status == 206:
            first, whole = _content_range(response.headers)
            if first != have:
                part.unlink(missing_ok=True)
                return "the server sent another range than was asked for"
            start, total = have, whole or have + total
        total = total or self.total_bytes
        with part.open("ab" if start else "wb") as file:
            done = start
            progress(self.what, done, total)
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                progress(self.what, done, total)
        return "" if done == total or not total else f"the connection ended after {done} of {total} bytes"


def redacted(url: str) -> str:
    """Return an address without its user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


@functools.cache
def _context(cert: str, *, is_trusted: bool) -> ssl.SSLContext:
    if cert and Path(cert).is_dir():
        context = ssl.create_default_context(capath=cert)
    else:
        context = ssl.create_default_context(cafile=cert or None)
    if is_trusted:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _content_range(headers: Message) -> tuple[int | None, int | None]:
    """Return (first byte, total) of a Content-Range header, None where it does not say."""
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    if not match:
        return None, None
    return (int(match[1]) if match[1] else None), (int(match[2]) if match[2] != "*" else None)
