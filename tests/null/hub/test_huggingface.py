"""Files from a server that speaks the hub's protocol: resumed, checked, split, refused in words."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.http_server import Answer, Server
from tests.support.wheels import MODEL, sha256

from outpace.errors import FetchError
from outpace.hub import huggingface
from outpace.hub.cache import silent
from outpace.hub.download import Client
from outpace.hub.source import Expected, HubSource

COMMIT = "c" * 40
QUICK = Client(pauses_s=(0.0, 0.0), timeout_s=10)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("HF_TOKEN", "secret")
    with Server() as running:
        yield running


@pytest.fixture
def store() -> Iterator[Server]:
    """Where the bytes of large files are: never the hub's own host."""
    with Server() as running:
        yield running


def offer(
    server: Server, store: Server, content: bytes, file: str = "m.gguf", *, etag: str = "", revision: str = "main"
) -> str:
    """Serve one file as the hub does a large one, by its facts and a redirect; return the path of its bytes."""
    facts = {
        "X-Repo-Commit": COMMIT,
        "X-Linked-Etag": f'"{etag or sha256(content)}"',
        "X-Linked-Size": str(len(content)),
        "Location": f"{store.url}/cdn/{file}",
    }
    for name in (revision, COMMIT):
        server.answers[f"/o/r/resolve/{name}/{file}"] = Answer(status=302, headers=facts)
    store.answers[f"/cdn/{file}"] = Answer(content)
    return f"/cdn/{file}"


def fetch(server: Server | str, cache: Path, file: str = "m.gguf", revision: str = "main", sha256: str = "") -> Path:
    source = HubSource("o", "r", file, revision)
    endpoint = server if isinstance(server, str) else server.url
    return huggingface.fetch(source, cache, Expected(sha256), QUICK, silent, endpoint)


def test_a_file_is_fetched_with_the_token_for_the_hub_alone(server: Server, store: Server, tmp_path: Path) -> None:
    bytes_at = offer(server, store, MODEL)
    path = fetch(server, tmp_path)
    assert path == tmp_path / "hf/o/r/main/m.gguf" and path.read_bytes() == MODEL
    assert {seen.authorization for seen in server.seen} == {"Bearer secret"}
    assert [(seen.path, seen.authorization) for seen in store.seen] == [(bytes_at, "")]
    server.seen.clear()
    assert fetch(server, tmp_path) == path and server.seen == []


def test_dropped_connections_and_second_runs_go_on(server: Server, store: Server, tmp_path: Path) -> None:
    bytes_at = offer(server, store, MODEL)
    store.answers[bytes_at].drop_after = [1000, 50_000, 0, 0, 0]
    with pytest.raises(FetchError, match="51000 bytes are kept"):
        fetch(server, tmp_path)
    assert not list(tmp_path.rglob("*.gguf"))
    store.seen.clear()
    store.answers[bytes_at].drop_after = []
    assert fetch(server, tmp_path).read_bytes() == MODEL
    assert store.ranges(bytes_at) == ["bytes=51000-"]


def test_other_bytes_than_the_hub_promised_are_refused(server: Server, store: Server, tmp_path: Path) -> None:
    offer(server, store, MODEL, etag="0" * 64)
    with pytest.raises(FetchError, match=r"hf://o/r/m.gguf: the checksum is wrong: sha256 \w+, expected 0000"):
        fetch(server, tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["m.gguf.lock"]


def test_the_catalogue_checksum_goes_before_the_hubs(server: Server, store: Server, tmp_path: Path) -> None:
    offer(server, store, MODEL)
    with pytest.raises(FetchError, match="expected ffff"):
        fetch(server, tmp_path, sha256="f" * 64)


def test_a_split_file_comes_whole_and_from_one_commit(server: Server, store: Server, tmp_path: Path) -> None:
    names = [f"q/m-{i:05d}-of-00003.gguf" for i in (1, 2, 3)]
    for i, name in enumerate(names):
        offer(server, store, MODEL[i * 1000 : i * 1000 + 1000], name)
    path = fetch(server, tmp_path, names[1])
    assert path.name == "m-00001-of-00003.gguf"
    assert b"".join((path.parent / Path(name).name).read_bytes() for name in names) == MODEL[:3000]
    asked = {seen.path.split("/")[4] for seen in server.seen if seen.path.startswith("/o/r/resolve/")}
    assert asked == {"main", COMMIT}
    assert f"/o/r/resolve/main/{names[2]}" not in {seen.path for seen in server.seen}


def test_a_revision_has_its_own_place(server: Server, store: Server, tmp_path: Path) -> None:
    offer(server, store, MODEL, revision="refs%2Fpr%2F1")
    path = fetch(server, tmp_path, revision="refs/pr/1")
    assert path == tmp_path / "hf/o/r/refs%2Fpr%2F1/m.gguf" and path.read_bytes() == MODEL


@pytest.mark.parametrize(
    ("code", "status", "sentence"),
    [
        ("EntryNotFound", 404, "o/r has no file m.gguf at main"),
        ("RevisionNotFound", 404, "o/r has no revision main"),
        ("RepoNotFound", 401, "no repository o/r, or it is private and needs `hf auth login`"),
        ("GatedRepo", 403, "o/r asks to accept its terms on its page"),
        ("", 500, "the hub cannot be asked: "),
    ],
)
def test_refusals_are_sentences(server: Server, tmp_path: Path, code: str, status: int, sentence: str) -> None:
    headers = {"X-Error-Code": code} if code else {}
    server.answers["/o/r/resolve/main/m.gguf"] = Answer(status=status, headers=headers)
    with pytest.raises(FetchError, match=f"^hf://o/r/m.gguf: {sentence}"):
        fetch(server, tmp_path)


def test_a_server_that_is_no_hub_or_is_away(server: Server, tmp_path: Path) -> None:
    server.answers["/o/r/resolve/main/m.gguf"] = Answer(b"hello")
    with pytest.raises(FetchError, match="does not speak the hub's protocol"):
        fetch(server, tmp_path)
    with pytest.raises(FetchError, match="the hub cannot be asked: "):
        fetch("http://127.0.0.1:1", tmp_path)


def test_the_endpoint_of_the_environment_is_used(server: Server, store: Server, tmp_path: Path) -> None:
    offer(server, store, MODEL)
    # The library reads it once, when it is imported.
    environ = {**os.environ, "HF_ENDPOINT": server.url, "OUTPACE_CACHE": str(tmp_path)}
    code = "from outpace import hub; print(hub.resolve('hf://o/r/m.gguf'))"
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environ)
    assert Path(run.stdout.strip()).read_bytes() == MODEL
