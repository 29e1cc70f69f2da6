"""Heads of plain transformers: what a file must have for one, and that without one nothing is asked or done for it."""

from pathlib import Path
from typing import Any

import pytest
from tests.support.tiny import arrays, metadata, shapes, write

from outpace.errors import ModelFileError, UnsupportedError
from outpace.gguf.file import open_gguf
from outpace.models import Model, load_plan

ARCHS = ["llama", "qwen3"]
OF_THE_HEAD = ("nextn.eh_proj.weight", "nextn.enorm.weight", "nextn.hnorm.weight")
LAYER = {
    "llama": [*["rms_norm", "linear", "heads", "linear", "heads", "linear", "heads", "rope", "rope"]],
    "qwen3": [*["rms_norm", "linear", "heads", "linear", "heads", "linear", "heads"], *["rms_norm", "rope"] * 2],
}
REST = [*["attention", "linear", "add"], *["rms_norm", "linear", "linear", "silu", "mul", "linear", "add"]]


def read(folder: Path, arch: str, changes: dict[str, Any] | None = None, without: str = "", **sizes: int) -> Model:
    """Write a tiny file with other keys or without a tensor, and read its header."""
    own = {name: array for name, array in arrays(shapes(arch, **sizes)).items() if name != without}
    keys = metadata(arch, **sizes) | {f"{arch}.{key}": value for key, value in (changes or {}).items()}
    with open_gguf(write(folder / "a.gguf", keys, own)) as file:
        return load_plan(file)


def verbs(plan) -> list[str]:
    return [node.verb for node in plan.nodes]


@pytest.mark.parametrize("arch", ARCHS)
def test_without_a_head_the_trunk_is_these_verbs_and_no_more(arch: str, tmp_path: Path):
    for changes in ({}, {"nextn_predict_layers": 0}):
        model = read(tmp_path, arch, changes)
        assert verbs(model.traced) == ["embed", *(LAYER[arch] + REST) * 2, "wanted", "rms_norm", "linear"]
        assert list(model.traced.outputs) == ["logits"] and model.config.n_mtp == 0
        assert model.traced_draft is None and model.draft is None


@pytest.mark.parametrize("arch", ARCHS)
def test_the_draft_program_is_a_block_like_the_trunks_between_a_projection_and_a_norm(arch: str, tmp_path: Path):
    model = read(tmp_path, arch, n_mtp=1)
    assert (model.config.n_layers, model.config.n_mtp) == (2, 1) and model.unused == ()
    assert verbs(model.traced) == ["embed", *(LAYER[arch] + REST) * 2, "exported", "rms_norm", "wanted", "linear"]
    assert list(model.traced.outputs) == ["hidden", "logits"]
    start = ["embed", "rms_norm", "hidden", "rms_norm", "concat", "linear"]
    end = ["exported", "rms_norm", "wanted", "linear"]
    assert verbs(model.traced_draft) == [*start, *LAYER[arch], *REST, *end]
    assert [node.attrs["layer"] for node in model.traced_draft.nodes if node.verb == "attention"] == [2]
    heads = {name.removeprefix("blk.2.") for name in model.traced_draft.weights() if name.startswith("blk.2.")}
    trunk = {name.removeprefix("blk.1.") for name in model.traced.weights() if name.startswith("blk.1.")}
    assert heads == trunk | {*OF_THE_HEAD, "nextn.shared_head_norm.weight"}


def test_frequency_factors_hold_for_the_head_too(tmp_path: Path):
    own = arrays(shapes("llama", n_mtp=1) | {"rope_freqs.weight": (8,)})
    with open_gguf(write(tmp_path / "a.gguf", metadata("llama", n_mtp=1), own)) as file:
        model = load_plan(file)
    ropes = [node for node in model.traced_draft.nodes if node.verb == "rope"]
    assert len(ropes) == 2 and all([w.name for w in node.weights] == ["rope_freqs.weight"] for node in ropes)


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("name", [*OF_THE_HEAD, "attn_k.weight"])
def test_a_tensor_that_a_head_must_have_is_missed(arch: str, name: str, tmp_path: Path):
    with pytest.raises(ModelFileError, match=f"tensor 'blk.2.{name}': the file does not have it"):
        read(tmp_path, arch, without=f"blk.2.{name}", n_mtp=1)


@pytest.mark.parametrize("arch", ARCHS)
def test_counts_that_cannot_be_are_refused(arch: str, tmp_path: Path):
    with pytest.raises(UnsupportedError, match=rf"{arch} with multi-token-prediction layers.*'2'.*0, 1"):
        read(tmp_path, arch, {"nextn_predict_layers": 2})
    with pytest.raises(ModelFileError, match=r"nextn_predict_layers is -1.*0 or 1"):
        read(tmp_path, arch, {"nextn_predict_layers": -1})
    with pytest.raises(ModelFileError, match=r"nextn_predict_layers is 1.*less than block_count 1"):
        read(tmp_path, arch, {"block_count": 1}, n_mtp=1)
