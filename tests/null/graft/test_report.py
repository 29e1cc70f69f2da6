"""Judging a head: what counts as slower, and how it is said."""

import json
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="training needs torch")

from outpace.graft import plot, report
from outpace.graft.acceptance import Acceptance
from outpace.graft.measure import Measured, Part
from outpace.graft.plot import lines
from outpace.graft.report import Report, table
from outpace.graft.trainer import Curve
from outpace.spread import Spread


def measured(plain: float, suffix: float, kept: int = 50) -> Measured:
    """Sixty prompts whose ratios spread a little around two values."""
    acceptance = Acceptance(100, (100, 100), (100, kept), (kept, kept // 2))
    ratios = {
        ("auto", other): Spread.of([middle * (0.95 + i / 600) for i in range(60)])
        for other, middle in (("plain", plain), ("suffix", suffix))
    }
    part = Part(60, acceptance, {"plain": 10.0, "auto": 10.0 * plain, "suffix": 9.0}, ratios)
    return Measured({"code": part}, part, 2, ())


@pytest.mark.parametrize(("plain", "suffix"), [(1.4, 1.2), (1.0, 1.0), (1.0, 3.0)])
def test_what_is_faster_or_inside_the_noise_is_written(plain: float, suffix: float):
    found = Report(measured(1, 1, 2), measured(plain, suffix))
    assert found.refusal == ""


def test_what_is_slower_than_plain_or_than_copies_alone_is_not_and_says_by_how_much():
    found = Report(measured(1, 1, 2), measured(0.8, 1.5))
    assert found.refusal == "with this head the model writes 0.80 times as fast as without drafting (0.79 to 0.81)"
    found = Report(measured(1, 1, 2), measured(1.5, 0.9))
    assert found.refusal == "with this head the model writes 0.90 times as fast as with copies alone (0.89 to 0.91)"


def test_what_writes_other_texts_is_not():
    found = Report(measured(1, 1, 2), replace(measured(1.4, 1.2), different=("Why?", "How?")))
    assert found.refusal == "with this head the model answers 2 prompts otherwise, the first: 'Why?'"


def test_the_table_has_before_and_after_of_each_kind():
    rows = table(Report(measured(1, 1, 2), measured(1.5, 1.2)))
    assert rows[2].startswith("| code | 0.02 -> 0.50 | 0.01 -> 0.25 | 1.03 -> 1.75 | 1.50 (1.4")
    assert rows[3].startswith("| all |")


def test_a_curve_is_a_line_for_each_depth():
    found = lines(Curve([0, 10, 20], [3.0, 2.0, 1.0], [[0.0, 0.0], [0.4, 0.1], [0.8, 0.4]]))
    assert found == ["depth 1  0.000  ▄█ 0.800", "depth 2  0.000  ▁▄ 0.400"]


@pytest.mark.parametrize("is_there", [True, False])
def test_a_report_lies_beside_its_file_and_without_matplotlib_says_what_is_not_drawn(is_there, tmp_path, monkeypatch):
    if is_there:
        pytest.importorskip("matplotlib", reason="it draws the curve")
    else:
        monkeypatch.setattr(plot, "find_spec", lambda name: None)
    found, curve = Report(measured(1, 1, 2), measured(1.4, 1.2)), Curve([0, 9], [3.0, 1.0], [[0.1, 0.0], [0.5, 0.2]])
    notes = report.write(found, curve, {"base": tmp_path / "base.gguf", "lr": 1e-3}, tmp_path / "out.gguf")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"out.gguf.report.json", "out.gguf.report.md"} | ({"out.gguf.curve.png"} if is_there else set())
    if is_there:
        assert notes == () and (tmp_path / "out.gguf.curve.png").read_bytes().startswith(b"\x89PNG")
    else:
        assert len(notes) == 1 and "out.gguf.curve.png is not drawn: matplotlib is not installed" in notes[0]
    told = json.loads((tmp_path / "out.gguf.report.json").read_text())
    assert told["settings"] == {"base": str(tmp_path / "base.gguf"), "lr": 1e-3}
    assert told["after"] == found.after.as_json() and told["curve"]["kept"] == curve.kept
    page = (tmp_path / "out.gguf.report.md").read_text(encoding="utf-8")
    assert all(line in page for line in [*table(found), *lines(curve)])
