"""A real HTTP server on 127.0.0.1 that can be told to break off, refuse ranges, redirect or lie."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Answer:
    """What a path gives.

    Attributes:
        body: The whole content.
        headers: Extra headers.
        status: Status of a plain answer.
        ranges: Whether a Range header is honoured.
        drop_after: For each GET in turn, after how many bytes the connection is cut; none left, none cut.
    """

    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200
    ranges: bool = True
    drop_after: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Seen:
    """One request that came in."""

    method: str
    path: str
    range: str
    authorization: str


class Server:
    """Serves `answers` by path while it is entered; `seen` records every request."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.seen: list[Seen] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._answer(self, with_body=True)

            def do_HEAD(self) -> None:
                outer._answer(self, with_body=False)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def ranges(self, path: str) -> list[str]:
        """The Range headers of the GETs of a path, in order."""
        return [seen.range for seen in self.seen if seen.path == path and seen.method == "GET"]

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: BaseHTTPRequestHandler, *, with_body: bool) -> None:
        asked = request.headers.get("Range", "")
        login = request.headers.get("Authorization", "")
        self.seen.append(Seen(request.command, request.path, asked, login))
        answer = self.answers.get(request.path, Answer(b"not here", status=404))
        body, status, extra = answer.body, answer.status, {}
        match = re.fullmatch(r"bytes=(\d+)-", asked)
        if match and answer.ranges and status == 200:
            first = int(match[1])
            if first >= len(body):
                body, status, extra = b"", 416, {"Content-Range": f"bytes */{len(answer.body)}"}
            else:
                body, status = body[first:], 206
                extra = {"Content-Range": f"bytes {first}-{len(answer.body) - 1}/{len(answer.body)}"}
        request.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **answer.headers, **extra}.items():
            request.send_header(name, value)
        request.end_headers()
        if with_body:
            cut = answer.drop_after.pop(0) if answer.drop_after else len(body)
            request.wfile.write(body[:cut])
        request.close_connection = True
