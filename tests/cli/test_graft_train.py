"""`outpace graft train` where it cannot begin: every refusal is a sentence."""

import pytest
from tests.support import tiny

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
    ],
)
def test_settings_out_of_range_are_refused(options, sentence, tmp_path, capsys):
    pytest.importorskip("torch", reason="training needs torch")
    base = tiny.write_tiny(tmp_path / "base.gguf")
    assert call(["graft", "train", str(base), "-o", str(tmp_path / "out.gguf"), *options]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out.gguf.graft").exists()


def test_a_file_that_is_there_is_not_replaced_unasked(tmp_path, capsys):
    pytest.importorskip("torch", reason="training needs torch")
    base = tiny.write_tiny(tmp_path / "base.gguf")
    assert call(["graft", "train", str(base), "-o", str(base)]) == 2
    assert "--force replaces it" in capsys.readouterr().err
