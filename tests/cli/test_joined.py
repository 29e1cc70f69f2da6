"""A name that stands for a model and its head, on the command line: whole where it runs, bare where a head is made."""

import json
from pathlib import Path

import pytest
from tests.support import joining

from outpace.hub import catalogue


@pytest.fixture
def files(tmp_path, monkeypatch) -> tuple[Path, Path, Path]:
    """A model with the name `tiny` as it came, its head, and both as one."""
    trunk, head = joining.write_files(tmp_path / "files")
    monkeypatch.setenv("OUTPACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(catalogue, "CATALOGUE", catalogue.with_bare((joining.entry(trunk, head),)))
    return joining.put(tmp_path / "cache", trunk), head, head.with_name("attached.gguf")


def test_pull_and_inspect(outpace, files) -> None:
    base, _, whole = files
    code, out, _ = outpace("pull", "tiny", "--offline", "--json")
    path, told = out.splitlines()
    assert code == 0 and Path(path).read_bytes() == whole.read_bytes()
    assert json.loads(told) == {"path": path, "bytes": whole.stat().st_size}
    assert outpace("pull", "tiny-base")[1].strip() == str(base)
    layers = [
        json.loads(outpace("inspect", name, "--json")[1].splitlines()[-1])["mtp_layers"]
        for name in ("tiny", "tiny-base")
    ]
    assert layers == [1, 0]


def test_a_head_is_put_on_and_trained_for_the_model_as_it_comes(outpace, files, tmp_path) -> None:
    base, head, whole = files
    code, _, err = outpace("graft", "attach", "tiny", head, "-o", tmp_path / "out.gguf")
    assert code == 0, err
    assert (tmp_path / "out.gguf").read_bytes() == whole.read_bytes()
    code, _, _ = outpace("graft", "detach", "tiny", "-o", tmp_path / "trunk.gguf")
    assert code == 0 and (tmp_path / "trunk.gguf").stat().st_size == base.stat().st_size
    pytest.importorskip("torch", reason="training needs torch")
    code, _, err = outpace("graft", "train", "tiny", "-o", tmp_path / "x.gguf", "--tokens", "0")
    assert code == 2 and "--tokens is 0" in err, "the head is no hindrance"
    code, _, err = outpace("graft", "tune", "tiny-base", "-o", tmp_path / "x.gguf", "--prompts", "p.txt")
    assert code == 2 and "FILE is 'tiny-base'; expected a model with a head" in err
