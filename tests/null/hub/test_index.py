"""Index pages and pip's settings as values."""

from __future__ import annotations

import pytest

from outpace.errors import FetchError
from outpace.hub import pip_config
from outpace.hub.index import Link, links

URL = "https://index.example/simple/p/"


def test_html_and_json_give_the_same_links() -> None:
    html = b"""<html><body><a href="../../f/p-1.0-py3-none-any.whl#sha256=ab" data-yanked="broken">p</a>
        <a name="x">no href</a><a href="p-1.0.tar.gz">sdist</a></body></html>"""
    json = b"""{"files": [{"filename": "p-1.0-py3-none-any.whl", "url": "/f/p-1.0-py3-none-any.whl",
        "hashes": {"sha256": "ab"}, "yanked": "broken"}, {"filename": "p-1.0.tar.gz", "url": "p-1.0.tar.gz"}]}"""
    expected = Link("https://index.example/f/p-1.0-py3-none-any.whl", "p-1.0-py3-none-any.whl", "ab", 0, True)
    assert links(html, "text/html; charset=utf-8", URL) == [expected]
    assert links(json, "application/vnd.pypi.simple.v1+json", URL) == [expected]


def test_a_base_moves_relative_links() -> None:
    page = b'<base href="https://files.example/x/"><a href="p-1-py3-none-any.whl">p</a>'
    assert links(page, "text/html", URL)[0].url == "https://files.example/x/p-1-py3-none-any.whl"


@pytest.mark.parametrize(
    "page", [b"", b"[]", b"{}", b'{"files": [1]}', b'{"files": [{}]}', b'{"files": [{"filename": "p", "hashes": 1}]}']
)
def test_a_page_that_is_no_index_is_refused(page: bytes) -> None:
    with pytest.raises(FetchError, match="not a page of a package index"):
        links(page, "application/json", URL)


def test_wheel_names_are_taken_apart() -> None:
    link = Link("", "Some_Package-1.0.post1-1build-py3-none-any.whl")
    assert (link.package, link.version, link.is_final) == ("some-package", "1.0.post1", True)
    assert not Link("", "p-1.0rc1-py3-none-any.whl").is_final
    assert not Link("", "p-1.0.dev3-py3-none-any.whl").is_final


def test_releases_sort_by_age() -> None:
    versions = ["0.9", "0.10", "1", "1.0.1", "1.0.1.post1", "1.1", "2!0.1"]
    order = [Link("", f"p-{version}-py3-none-any.whl").order for version in versions]
    assert order == sorted(order)
    any_platform, one = Link("", "p-1.0-py3-none-any.whl"), Link("", "p-1-py3-none-win_amd64.whl")
    assert any_platform.order > one.order


def test_what_pip_lists_is_read() -> None:
    listing = "global.index-url='https://a/simple'\nglobal.timeout='5'\ndownload.index-url='https://b/simple'\n"
    settings = pip_config.parse(listing + "freeze.timeout='7'\n:env:.cert='/c'\nglobal.find-links='/x\\n/y'\n\n")
    assert settings == {"index-url": "https://b/simple", "timeout": "5", "find-links": "/x\n/y"}


def test_pip_variables_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    config = pip_config.read(
        {
            "PIP_INDEX_URL": "https://a/simple",
            "PIP_EXTRA_INDEX_URL": "https://b/simple https://c/simple",
            "PIP_CERT": "/cert",
            "PIP_TRUSTED_HOST": "a:8080",
            "PIP_DEFAULT_TIMEOUT": "5",
        }
    )
    assert config.indexes == ("https://a/simple", "https://b/simple", "https://c/simple")
    assert (config.client.cert, config.client.timeout_s, config.client.trusted_hosts) == ("/cert", 5.0, ("a",))
    assert pip_config.read({"PIP_NO_INDEX": "1"}).indexes == ()
