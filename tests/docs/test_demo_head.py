"""The head that comes with outpace: what the tool that takes one in writes, and what its page says."""

from __future__ import annotations

import json
import re
import sys
import types
from pathlib import Path

import pytest
from gguf import GGUFReader
from tests.support import joining
from tools import card, demo_head

from outpace.errors import UnsupportedError
from outpace.graft.acceptance import Acceptance
from outpace.graft.measure import Measured, Part
from outpace.hub.catalogue import Entry, Head, bare
from outpace.spread import Spread

HEAD = Head("smollm2-135m-mtp.gguf", "a" * 64, 4_500_000, "b" * 64, 102_900_000)
SETTINGS = {"tokens": 123_000, "passes": 7, "type": "Q4_K", "variation": 0.5, "device": "cpu"}
PATHS = {
    "base": "/somewhere/base.gguf",
    "out": "/somewhere/o.gguf",
    "head_only": None,
    "prompts": None,
    "work": "/somewhere/w",
}


def measured(share: int, depth: int = 3) -> dict:
    """What `graft measure --json` prints of ten rounds, of which so many kept the first guess."""
    found = Acceptance.of(10, [(depth, 1)] * share + [(depth, 0)] * (10 - share), depth)
    spread = {pair: Spread.of([1.5, 1.625, 1.75]) for pair in (("auto", "plain"), ("auto", "suffix"))}
    part = Part(20, found, {"plain": 80.0, "mtp": 120.0, "suffix": 90.0, "auto": 130.25}, spread)
    return json.loads(json.dumps(Measured({"code": part, "prose": part}, part, depth, ()).as_json()))


def report(**changed: object) -> dict:
    return {"settings": SETTINGS | PATHS | changed, "before": measured(2), "after": measured(6), "curve": {}}


def catalogue_of(source: str) -> types.ModuleType:
    """Return the catalogue that a source makes."""
    module = types.ModuleType("catalogue_of_a_test")
    module.__dict__["__file__"] = str(demo_head.CATALOGUE)
    sys.modules[module.__name__] = module  # dataclasses look there
    try:
        exec(compile(source, "catalogue", "exec"), module.__dict__)
    finally:
        del sys.modules[module.__name__]
    return module


def test_the_catalogue_gets_the_head_and_keeps_all_else() -> None:
    source = demo_head.CATALOGUE.read_text()
    before = catalogue_of(source).find(demo_head.MODEL)
    once = demo_head.with_head(source, demo_head.MODEL, HEAD)
    again = demo_head.with_head(once, demo_head.MODEL, Head("other.gguf", "c" * 64, 1, "d" * 64, 2))
    for text, head in ((once, HEAD), (again, Head("other.gguf", "c" * 64, 1, "d" * 64, 2))):
        module = catalogue_of(text)
        found, alone = module.find(demo_head.MODEL), module.find(f"{demo_head.MODEL}-base")
        assert vars(found.head) == vars(head) and alone.head is None
        for name in ("source", "sha256", "bytes", "licence"):
            assert getattr(found, name) == getattr(alone, name) == getattr(before, name)
    assert demo_head.with_head(again, demo_head.MODEL, HEAD) == once
    with pytest.raises(SystemExit, match="has no entry nothing"):
        demo_head.with_head(source, "nothing", HEAD)


def test_a_head_is_described_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk, head = joining.write_files(tmp_path / "files")
    entry = joining.entry(trunk, head)
    found, about = demo_head.described(head, trunk, str(head))
    assert found == entry.head
    n_parameters = sum(int(each.n_elements) for each in GGUFReader(head).tensors)
    assert about == {"parameters": n_parameters, "types": ["F32"]}
    with pytest.raises(UnsupportedError, match="supported: a head alone"):
        demo_head.described(trunk, trunk, "x")
    monkeypatch.setattr(demo_head, "MOST_BYTES", head.stat().st_size - 1)
    with pytest.raises(SystemExit, match="bytes; at most"):
        demo_head.described(head, trunk, "x")


def test_what_is_kept_names_no_path() -> None:
    kept = demo_head.record(report(), None, {"parameters": 1, "types": ["Q4_K"]})
    assert kept["settings"] == SETTINGS and "somewhere" not in json.dumps(kept)


@pytest.mark.parametrize(
    ("given", "told", "sentence"),
    [
        (report(prompts="mine.txt"), None, "trained on the prompts of mine.txt"),
        (report(), measured(5, depth=2), "measured at depth 2, and the report is of 3"),
        (report(), measured(5) | {"same_text": False}, "the texts differ"),
        (report(colour="red"), None, "no option for the setting colour"),
    ],
)
def test_what_the_page_would_not_be_true_of_is_refused(given: dict, told: dict | None, sentence: str) -> None:
    with pytest.raises(SystemExit, match=sentence):
        demo_head.record(given, told, {})


@pytest.mark.parametrize("is_measured", [False, True])
def test_the_page_tells_what_was_measured(tmp_path: Path, is_measured: bool) -> None:
    about = {"parameters": 4_200_000, "types": ["Q4_K", "F32"]}
    kept = demo_head.record(report(), measured(7) if is_measured else None, about)
    head = Head(str(tmp_path / "a.gguf"), "a" * 64, 4_500_000, "b" * 64, 102_900_000)
    card.record_path(head.path).write_text(json.dumps(kept))
    entry = Entry("smollm2-135m", "pypi://a==1/b.gguf", "c" * 64, 98_000_000, "Apache-2.0", "A model.", head)
    page = card.page(entry, head, "MADE\n")
    share = 7 if is_measured else 6
    assert f"| code | 20 | 0.20 -> 0.{share}0 | 0.00 -> 0.00 | 0.00 -> 0.00 | 1.20 -> 1.{share}0 |" in page
    assert ("| all | 80.0 | 120.0 | 90.0 | 130.2 | 1.62" in page) is is_measured
    for told in ("4.2 million parameters in Q4_K, F32", "4.50 MB", "a" * 64, "b" * 64, "Apache-2.0", "123,000 tokens"):
        assert told in page
    assert re.search(r"^outpace graft train smollm2-135m -o .* --tokens 123000 --passes 7 --type Q4_K ", page, re.M)
    assert bare(entry).name == "smollm2-135m-base"
