"""The work folder: what a killed run had begun goes, what fails leaves nothing, one model is told from another."""

import pytest
from tests.support import tiny
from tests.support.rewritten import rewritten

from outpace.gguf.file import open_gguf
from outpace.graft.work import identity, whole_file, work_folder


def test_what_a_killed_run_had_begun_goes_and_nothing_else(tmp_path):
    out = tmp_path / "[a]*.gguf"
    folder = tmp_path / "work"
    (folder / "medusa" / ".shard-00000.x.part").mkdir(parents=True)
    gone = [folder / ".text.json.part", folder / "medusa" / ".trunk.gguf.xyz.part", tmp_path / f".{out.name}.xyz.part"]
    kept = [folder / "medusa" / "head.gguf", tmp_path / ".a.gguf.xyz.part", tmp_path / f"{out.name}.part"]
    for each in gone + kept:
        each.write_text("x")
    with work_folder(out, folder):
        assert not any(each.exists() for each in gone) and not list(folder.rglob(".shard*"))
        assert all(each.exists() for each in kept)


def test_a_file_that_was_begun_and_failed_is_not_left(tmp_path):
    (tmp_path / "a").write_text("before")
    with pytest.raises(OSError, match="full"), whole_file(tmp_path / "a") as part:
        part.write_text("half")
        raise OSError("full")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a", "before")]


def test_a_model_is_told_from_one_with_another_value_of_the_same_length(tmp_path):
    def told(path):
        with open_gguf(path) as file:
            return identity(file)

    base = tiny.write_tiny(tmp_path / "base.gguf")
    key = {"tokenizer.chat_template": "a{{ messages }}"}
    first = told(rewritten(base, tmp_path, key))
    assert first == told(rewritten(base, tmp_path, key))
    assert first != told(rewritten(base, tmp_path, {"tokenizer.chat_template": "b{{ messages }}"}))
