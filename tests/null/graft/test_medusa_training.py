"""Medusa heads as they are trained, against the same in numpy; and new ones, which say what the model says."""

from pathlib import Path

import numpy as np
import pytest
from tests.support import medusa, tiny

from outpace.errors import ConfigError
from outpace.gguf.file import open_gguf

torch = pytest.importorskip("torch", reason="training needs torch")

from outpace.convert.mix import MIXES  # noqa: E402 - as it is trained
from outpace.gguf.join import open_with_head  # noqa: E402
from outpace.graft import start  # noqa: E402
from outpace.graft.dataset import Batch, Depth  # noqa: E402
from outpace.graft.head import Head, at_once  # noqa: E402
from outpace.graft.medusa import MedusaBlueprint  # noqa: E402
from outpace.graft.result import write_head  # noqa: E402
from outpace.models import load_plan  # noqa: E402

N, K, V, D = 10, 3, 64, 32
STATES = np.random.default_rng(2).normal(size=(N, D)).astype(np.float32)


def batch(best: list[np.ndarray]) -> Batch:
    """One block whose rows all count, and are to say these tokens at each depth."""
    rows = torch.arange(N)
    nothing = torch.zeros(N, dtype=torch.long)
    depths = [
        Depth(nothing, rows, rows, torch.from_numpy(each)[:, None], torch.ones(N, 1)) for each in best
    ]  # one token, for certain
    return Batch(torch.from_numpy(STATES), torch.ones(1, N, N, dtype=torch.bool).tril(), depths)


@pytest.mark.parametrize("arch", ["llama", "qwen3", "qwen35", "qwen35moe"])
def test_each_depth_is_the_head_of_its_number(arch: str, tmp_path: Path):
    path = medusa.with_heads(tiny.write_tiny(tmp_path / "tiny.gguf", arch), tmp_path / "heads.gguf", K)
    with open_gguf(path) as file:
        design, expected = MedusaBlueprint(file, K), medusa.Heads(file).logits(STATES)
        assert design.has_head and set(design.shapes) == {
            f"medusa.{i}.{p}" for i in range(K) for p in ("weight", "bias")
        }
        tensors = start.from_zeros(design)
        best = [each.argmax(1) for each in expected]
        matrix = torch.from_numpy(medusa.Heads(file).matrix).float()
        for x, theirs in zip(at_once(design, tensors, batch(best), torch.float32), expected, strict=True):
            np.testing.assert_allclose((x @ matrix.T).numpy(), theirs, rtol=1e-4, atol=1e-4)
        # Told what they say themselves, they are always right; told what another head says, not.
        head = Head(design, tensors, np.arange(V), at_once)
        assert head.outcome(batch(best), [1.0] * K, 0.0).n_kept == [N] * K
        assert head.outcome(batch(best[1:] + best[:1]), [1.0] * K, 0.0).n_kept[0] < N


def test_new_heads_are_zeros_and_written_they_are_the_models_own(tmp_path: Path):
    base = tiny.write_tiny(tmp_path / "tiny.gguf", "qwen35")
    with open_gguf(base) as file:
        design = MedusaBlueprint(file, 2)
        tensors = start.from_zeros(design)
        assert not design.has_head and all(not each.any() for each in tensors.values())
        write_head(design, tensors, np.arange(9), MIXES["Q8_0"], tmp_path / "head.gguf")
    with open_with_head(base, tmp_path / "head.gguf") as file:
        model = load_plan(file)
        # Beside the MTP layer that the file has.
        assert model.medusa is not None and model.draft is not None and model.unused == ()
        hidden = STATES.astype(np.float64)
        heads = medusa.Heads(file)
        assert heads.n == 2
        for each in heads.logits(hidden):
            np.testing.assert_array_equal(each, hidden @ heads.matrix.T)


def test_more_heads_than_a_file_has_cannot_be_trained(tmp_path: Path):
    path = medusa.with_heads(tiny.write_tiny(tmp_path / "tiny.gguf"), tmp_path / "heads.gguf", K)
    with open_gguf(path) as file:
        with pytest.raises(ConfigError, match="--depths is 4; expected at most 3, the Medusa heads that the file has"):
            MedusaBlueprint(file, 4)
        assert MedusaBlueprint(file, 2).config.n_medusa == K
