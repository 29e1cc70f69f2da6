"""Medusa heads taken off and put on: every byte stays, beside MTP layers and without, and what does not fit is told."""

from pathlib import Path

import pytest
from tests.null.graft.test_detach import contents
from tests.support import medusa, tiny
from tests.support.rewritten import rewritten

from outpace.convert.conversion import convert
from outpace.errors import ConfigError, ModelFileError
from outpace.gguf.file import open_gguf
from outpace.gguf.join import open_with_head
from outpace.graft.attach import attach
from outpace.graft.detach import detach
from outpace.models import load_plan


def write(folder: Path, arch: str) -> tuple[Path, Path]:
    """A base (the hybrid one has an MTP layer), and the same with Medusa heads."""
    base = tiny.write_tiny(folder / "base.gguf", arch)
    return base, medusa.with_heads(base, folder / "whole.gguf", 2)


@pytest.mark.parametrize("arch", ["llama", "qwen3", "qwen35"])
def test_taken_off_and_put_on_it_is_the_same(arch: str, tmp_path: Path):
    base, whole = write(tmp_path, arch)
    trunk, head, out = tmp_path / "trunk.gguf", tmp_path / "head.gguf", tmp_path / "out.gguf"
    parts = detach(whole, trunk, head, kinds=("medusa",))
    assert contents(trunk) == contents(base)
    assert set(contents(head)[1]) == {name for name in contents(whole)[1] if "medusa" in name}
    assert (parts.head.n_medusa, parts.trunk.n_medusa) == (2, 0)
    assert (parts.head.n_mtp, parts.trunk.n_mtp) == (0, int(arch == "qwen35"))
    assert f"{arch}.nextn_predict_layers" not in contents(head)[0]
    written = attach(trunk, head, out)
    assert contents(out) == contents(whole) and written.n_medusa == 2
    # Seen as one, they are the file that has both.
    with open_with_head(trunk, head) as one, open_gguf(whole) as other:
        ours, theirs = load_plan(one), load_plan(other)
        assert (ours.config, ours.plan, ours.medusa) == (theirs.config, theirs.plan, theirs.medusa)
        assert ours.unused == () and one.path_of("medusa.0.weight") == head


def test_beside_an_mtp_layer_each_goes_alone_or_both_together(tmp_path: Path):
    _, whole = write(tmp_path, "qwen35")
    bare, both = tmp_path / "bare.gguf", tmp_path / "both.gguf"
    parts = detach(whole, bare, both)
    assert (parts.head.n_mtp, parts.head.n_medusa, parts.trunk.n_mtp, parts.trunk.n_medusa) == (1, 2, 0, 0)
    attach(bare, both, tmp_path / "out.gguf")
    assert contents(tmp_path / "out.gguf") == contents(whole)
    # One after the other, in this order too.
    mtp, heads = tmp_path / "mtp.gguf", tmp_path / "heads.gguf"
    detach(whole, tmp_path / "a.gguf", mtp, kinds=("mtp",))
    detach(whole, tmp_path / "b.gguf", heads, kinds=("medusa",))
    attach(bare, heads, tmp_path / "c.gguf")
    assert contents(tmp_path / "c.gguf")[1] == contents(tmp_path / "a.gguf")[1]
    attach(tmp_path / "c.gguf", mtp, tmp_path / "d.gguf")
    assert contents(tmp_path / "d.gguf")[1] == contents(whole)[1]
    with open_gguf(tmp_path / "d.gguf") as file:
        model = load_plan(file)
        assert model.draft is not None and model.medusa is not None and model.unused == ()


def test_converting_leaves_them_where_they_are(tmp_path: Path):
    _, whole = write(tmp_path, "qwen35")
    convert(whole, tmp_path / "all.gguf", type="F32")
    assert contents(tmp_path / "all.gguf")[1] == contents(whole)[1]
    convert(whole, tmp_path / "none.gguf", type="F32", mtp="none")
    assert "medusa.1.bias" in contents(tmp_path / "none.gguf")[1]
    convert(whole, tmp_path / "only.gguf", type="F32", mtp="only")
    keys, tensors = contents(tmp_path / "only.gguf")
    assert "qwen35.medusa.head_count" not in keys and all(name.startswith("blk.2.") for name in tensors)


def test_what_does_not_fit_is_told(tmp_path: Path):
    base, whole = write(tmp_path, "llama")
    head, out = tmp_path / "head.gguf", tmp_path / "out.gguf"
    detach(whole, tmp_path / "trunk.gguf", head)
    with pytest.raises(ConfigError, match=r"this one has Medusa heads .`outpace graft detach` takes them off"):
        attach(whole, head, out)
    with pytest.raises(ConfigError, match=r"expected a model with MTP layers; this one has none"):
        detach(whole, out, kinds=("mtp",))
    with pytest.raises(ConfigError, match=r"--kind is 'meduza'; expected one of mtp, medusa; did you mean 'medusa'"):
        detach(whole, out, kinds=("meduza",))
    fewer = rewritten(head, tmp_path, {"llama.medusa.head_count": 3})
    with pytest.raises(ModelFileError, match=r"tensor 'medusa\.2\.weight': the file does not have it"):
        attach(base, fewer, out)
    other = tiny.write_tiny(tmp_path / "wide.gguf", "llama", d_model=64)
    with pytest.raises(ModelFileError, match="the head is for a width of 32"):
        attach(other, head, out)
    assert not out.exists()
