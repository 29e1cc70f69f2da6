"""The Qwen3.5 family against transformers: small random weights, float32, prompts of any length in any cuts."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.stepping import Stepper
from tests.support.tiny import write_tiny

from outpace.backends.backend import Limits
from outpace.backends.reference import ReferenceBackend
from outpace.gguf.file import open_gguf
from outpace.graph.step import PAGE, Segment, Step
from outpace.models import load_plan

oracle = pytest.importorskip("bench.oracle", reason="needs torch and transformers")

FILES = {
    "qwen35": ("qwen35", {}),
    "qwen35-tied": ("qwen35", {"tied": True}),
    "qwen35-one-key-head": ("qwen35", {"n_key_heads": 1, "n_value_heads": 3, "n_layers": 5, "interval": 4}),
    "qwen35-as-many-value-heads": ("qwen35", {"n_value_heads": 2, "head_dim": 32, "n_kv_heads": 1}),
    "qwen35-other-kernel": ("qwen35", {"conv_kernel": 2}),
    "qwen35-no-head": ("qwen35", {"n_mtp": 0}),
    "qwen35moe": ("qwen35moe", {}),
    "qwen3next": ("qwen3next", {}),
    "qwen3next-fused": ("qwen3next", {"fused_in": True}),
}


def error_of(path: Path, n: int, cuts: list[int]) -> float:
    """Return |ours - theirs| / |theirs|, the worst over positions, the text given in pieces."""
    tokens = [int(token) for token in np.random.default_rng(n).integers(0, 64, n)]
    with open_gguf(path) as file:
        limits = Limits(n, n, -(-n // PAGE), "f32")
        stepper = Stepper(ReferenceBackend().compile(load_plan(file).plan, file, limits))
        ours = []
        for begin, end in zip([0, *cuts], [*cuts, n], strict=True):
            ours.append(stepper.feed(tokens[begin:end]))
            stepper.accept(0)
        theirs = oracle.logits(oracle.load(file), tokens)
    difference = np.concatenate(ours) - theirs
    assert difference.shape == (n, 64)
    return float((np.linalg.norm(difference, axis=1) / np.linalg.norm(theirs, axis=1)).max())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("n", [1, 3, 150])
def test_logits(name: str, n: int, tmp_path: Path):
    arch, sizes = FILES[name]
    path = write_tiny(tmp_path / "tiny.gguf", arch, **sizes)
    assert error_of(path, n, []) < 1e-4


@pytest.mark.parametrize("arch", ["qwen35", "qwen35moe", "qwen3next"])
@pytest.mark.parametrize("n", [2, 64, 700, 2000])
def test_logits_in_any_cuts(arch: str, n: int, tmp_path: Path):
    random = np.random.default_rng(n)
    cuts = sorted({int(cut) for cut in random.integers(1, n, 1 + n // 50)})
    assert error_of(write_tiny(tmp_path / "tiny.gguf", arch), n, cuts) < 1e-4


@pytest.mark.parametrize("arch", ["qwen35", "qwen35moe", "qwen3next"])
def test_the_hidden_state_is_the_one_after_the_output_norm(arch: str, tmp_path: Path):
    tokens = [int(token) for token in np.random.default_rng(2).integers(0, 64, 40)]
    with open_gguf(write_tiny(tmp_path / "tiny.gguf", arch)) as file:
        executable = ReferenceBackend().compile(load_plan(file).plan, file, Limits(40, 1, 1, "f32"))
        segment = Segment(0, 40, np.zeros(1, np.int32))
        ours = executable.run(Step(tokens, [segment], [39], range(40))).hidden
        theirs = oracle.hidden(oracle.load(file), tokens)
    assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)


def test_the_order_of_value_heads_matters(tmp_path: Path):
    """What separates the architectures beside names: a file read with the other order is far off."""
    from dataclasses import replace

    from outpace.models import qwen35
    from outpace.models.delta import trunk

    path = write_tiny(tmp_path / "tiny.gguf", "qwen35")
    swapped = qwen35.FAMILY._replace(tiled=False)
    definition = replace(qwen35.DEFINITION, trunk=lambda ops, w, c: trunk(ops, w, c, swapped))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("outpace.models.find", lambda _: definition)
        assert error_of(path, 30, []) > 1e-2
