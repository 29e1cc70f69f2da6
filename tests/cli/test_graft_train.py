"""`outpace graft train` where it cannot begin: every refusal is a sentence."""

import pytest
from tests.support import grafting, tiny

from outpace.cli import graft_train
from outpace.cli.main import call


def test_without_torch_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(graft_train, "find_spec", lambda name: None)
    base = tiny.write_tiny(tmp_path / "base.gguf")
    assert call(["graft", "train", str(base), "-o", str(tmp_path / "out.gguf")]) == 6
    assert "training needs torch, which is not installed; pip install 'outpace[graft]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--tokens", "0"], "--tokens is 0; expected a whole number from 1 up"),
        (["--depths", "9"], "--depths is 9; expected a whole number from 1 to 8"),
        (["--lr", "nan"], "--lr is nan; expected a number above 0"),
        (["--prompts", "nowhere.txt"], "--prompts is"),
        (["-np", "0"], "--parallel is 0; expected a whole number from 1 to 1024"),
        (["-np", "-1"], "--parallel is -1; expected a whole number from 1 to 1024"),
        (["-t", "0"], "threads is 0; expected a whole number from 1 to 1024"),
        (["--seed", "-1"], "--seed is -1; expected a whole number from 0 to 18446744073709551615"),
        (["--variation", "-1"], "--variation is -1.0; expected a number from 0 up"),
        (["--variation", "nan"], "--variation is nan; expected a number from 0 up"),
    ],
)
def test_settings_out_of_range_are_refused(options, sentence, tmp_path, capsys):
    pytest.importorskip("torch", reason="training needs torch")
    base = tiny.write_tiny(tmp_path / "base.gguf")
    assert call(["graft", "train", str(base), "-o", str(tmp_path / "out.gguf"), *options]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out.gguf.graft").exists()


@pytest.mark.parametrize("name", ["BASE", "OUT"])
def test_a_head_is_not_written_over_what_it_is_made_of_or_goes_into(name, tmp_path, capsys):
    pytest.importorskip("torch", reason="training needs torch")
    base, out = tiny.write_tiny(tmp_path / "base.gguf"), tmp_path / "out.gguf"
    before = base.read_bytes()
    head = tmp_path / "." / {"BASE": base, "OUT": out}[name].name
    assert call(["graft", "train", str(base), "-o", str(out), "--head-only", str(head), "--force"]) == 2
    assert f"expected another file than {name}" in capsys.readouterr().err
    assert base.read_bytes() == before and not out.exists()


def test_prompts_that_cannot_be_asked_are_told_before_anything_is_done(tmp_path, capsys):
    pytest.importorskip("torch", reason="training needs torch")
    base = grafting.write_model(tmp_path / "base.gguf")
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a" * 4000)
    assert call(["graft", "train", str(base), "-o", str(tmp_path / "out.gguf"), "--prompts", str(prompts)]) == 2
    assert "expected prompts of at most" in capsys.readouterr().err
    for line in ("[" * 100_000, f'{{"prompt": {"1" * 5000}}}'):
        prompts.with_suffix(".jsonl").write_text(line)
        options = ["-o", str(tmp_path / "out.gguf"), "--prompts", str(prompts.with_suffix(".jsonl"))]
        assert call(["graft", "train", str(base), *options]) == 2
        assert "expected an object of JSON that can be read" in capsys.readouterr().err
    assert not (tmp_path / "out.gguf.graft").exists()


def test_a_file_that_is_there_is_not_replaced_unasked(tmp_path, capsys):
    pytest.importorskip("torch", reason="training needs torch")
    base = tiny.write_tiny(tmp_path / "base.gguf")
    assert call(["graft", "train", str(base), "-o", str(base)]) == 2
    assert "--force replaces it" in capsys.readouterr().err


def test_where_nobody_watches_a_line_now_and_then_tells_the_time_left(monkeypatch, capsys):
    now = 100.0
    monkeypatch.setattr(graft_train, "perf_counter", lambda: now)
    with graft_train._Stages() as stages:
        stages("training", 500, 1000)  # an earlier run did these: they tell nothing of the speed
        now += graft_train.LINE_S + 1
        stages("training", 600, 1000)
        stages("training", 601, 1000)
        stages("measuring after", 0, 60)
    left = (graft_train.LINE_S + 1) * 400 / 100
    assert capsys.readouterr().err == f"outpace: training, {graft_train._readable(left)} left (600 of 1000)\n"


@pytest.mark.parametrize(("seconds", "text"), [(89, "89 s"), (90, "2 min"), (3600, "60 min"), (36_000, "10.0 h")])
def test_a_duration_is_told_as_a_person_reads_it(seconds, text):
    assert graft_train._readable(seconds) == text
