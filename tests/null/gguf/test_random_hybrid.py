"""Random files of the Qwen3.5 family: whole, the same each time, of the sizes published, and of the types asked for."""

from pathlib import Path

import gguf
import numpy as np
import pytest
from bench.hybrid import SIZES, shapes
from bench.random_hybrid import write_random_hybrid

from outpace.backends.backend import Limits
from outpace.backends.reference import ReferenceBackend
from outpace.gguf.file import open_gguf
from outpace.gguf.quants import dequantize
from outpace.gguf.types import GGMLType
from outpace.graph.step import PAGE, Segment, Step
from outpace.models import load_plan

ARCHS = ["qwen35", "qwen35moe", "qwen3next"]


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q4_0", "Q4_K_M", "Q4_K"])
def test_a_tiny_model_is_whole(arch: str, kind: str, tmp_path: Path):
    path = write_random_hybrid(tmp_path / "a.gguf", arch=arch, type=kind)
    reader = gguf.GGUFReader(path)
    with open_gguf(path) as file:
        model = load_plan(file)
        assert model.unused == () and model.draft is not None
        assert all(bytes(t.data) == bytes(file.data(t.name)) for t in reader.tensors)
        main = GGMLType[kind.removesuffix("_M")]
        assert file.tensors["blk.0.ssm_out.weight"].type is main
        for name in ("blk.0.ssm_a", "blk.0.ssm_conv1d.weight", "blk.4.nextn.hnorm.weight"):
            assert file.tensors[name].type is GGMLType.F32
        values = {name: dequantize(file.data(name), i.type, i.shape) for name, i in file.tensors.items()}
    assert all(np.isfinite(each).all() for each in values.values())
    assert (values["blk.0.ssm_a"] < 0).all()


def test_the_same_arguments_write_the_same_bytes(tmp_path: Path):
    one = write_random_hybrid(tmp_path / "a.gguf", mtp_aligned=0.5).read_bytes()
    assert write_random_hybrid(tmp_path / "b.gguf", mtp_aligned=0.5).read_bytes() == one
    assert write_random_hybrid(tmp_path / "b.gguf", mtp_aligned=0.6).read_bytes() != one
    assert write_random_hybrid(tmp_path / "b.gguf", mtp_aligned=0.5, seed=1).read_bytes() != one


@pytest.mark.parametrize(
    ("shape", "billions"), [(("qwen35", "0.8b"), 0.75), (("qwen35", "4b"), 4.2), (("qwen35", "27b"), 26.9)]
)
def test_a_published_size_has_the_parameters_that_its_name_says(shape: tuple[str, str], billions: float):
    n = SIZES[shape]
    trunk = {name: size for name, size in shapes(shape[0], n).items() if not name.startswith(f"blk.{n.n_layers}.")}
    assert sum(int(np.prod(size)) for size in trunk.values()) / 1e9 == pytest.approx(billions, rel=0.01)


def test_without_a_draft_layer(tmp_path: Path):
    with open_gguf(write_random_hybrid(tmp_path / "a.gguf", n_mtp=0)) as file:
        assert load_plan(file).draft is None
        assert not any("nextn" in name for name in file.tensors)
        assert "qwen35.nextn_predict_layers" not in file.metadata


def agreement(path: Path, n: int = 200) -> float:
    """Return for which share of random tokens the head expects the same next token as the trunk."""
    pages = np.arange(-(-n // PAGE), dtype=np.int32)
    with open_gguf(path) as file:
        model = load_plan(file)
        limits = Limits(n, n, len(pages), "f32")
        trunk = ReferenceBackend().compile(model.plan, file, limits)
        draft = ReferenceBackend().compile(model.draft, file, limits)
    tokens = [int(token) for token in np.random.default_rng(1).integers(0, model.config.n_vocab, n)]
    rows = range(n)
    result = trunk.run(Step(tokens, [Segment(0, n, pages)], rows, rows))
    before = np.concatenate([np.zeros_like(result.hidden[:1]), result.hidden[:-1]])
    guesses = draft.run(Step(tokens, [Segment(0, n, pages)], rows, rows, before)).logits
    return float(np.mean(guesses.argmax(axis=1) == result.logits.argmax(axis=1)))


@pytest.mark.parametrize("kind", ["F32", "Q8_0", "Q4_K_M"])
def test_an_aligned_head_agrees_about_as_often_as_asked_for(kind: str, tmp_path: Path):
    found = {
        share: agreement(write_random_hybrid(tmp_path / "a.gguf", type=kind, mtp_aligned=share))
        for share in (None, 0.0, 0.5, 0.8, 1.0)
    }
    assert found[None] < 0.05 and found[0.0] < 0.05 and found[1.0] > 0.95
    assert found[0.5] == pytest.approx(0.5, abs=0.15)
    assert found[0.8] == pytest.approx(0.8, abs=0.15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": "5b"}, "no shape '5b' of 'qwen35'; there are qwen35 tiny"),
        ({"arch": "llama"}, "no shape 'tiny' of 'llama'"),
        ({"type": "Q9_0"}, "type is 'Q9_0'; one of F32"),
        ({"mtp_aligned": 1.5}, r"mtp_aligned is 1\.5; 0 to 1 expected"),
    ],
)
def test_what_cannot_be_written_is_refused(arguments: dict, message: str, tmp_path: Path):
    with pytest.raises(ValueError, match=message):
        write_random_hybrid(tmp_path / "a.gguf", **arguments)
    assert not list(tmp_path.iterdir())
