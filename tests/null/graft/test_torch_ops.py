"""Draft programs on torch against the same programs on the eager numpy verbs, chained three deep."""

from pathlib import Path

import numpy as np
import pytest
from tests.support import tiny
from tests.support.grafted import with_head

from outpace.backends.backend import Limits
from outpace.backends.reference import ReferenceBackend
from outpace.errors import UnsupportedError
from outpace.gguf.file import open_gguf
from outpace.gguf.quants import dequantize
from outpace.gguf.types import GGMLType
from outpace.gguf.weights import WeightRef
from outpace.graph.step import Segment, Step
from outpace.models import DEFINITIONS, load_plan

torch = pytest.importorskip("torch", reason="training needs torch")

from outpace.graft.blueprint import Blueprint  # noqa: E402 - imports torch
from outpace.graft.torch_ops import Seen, TorchOps  # noqa: E402

N, DEPTHS = 9, 3
ARCHS = [arch for arch, each in DEFINITIONS.items() if each.draft is not None]


@pytest.mark.parametrize("arch", ARCHS)
def test_torch_is_the_reference_at_every_depth(arch: str, tmp_path: Path):
    path = with_head(tiny.write_tiny(tmp_path / "tiny.gguf", arch, seed=3), tmp_path / "head.gguf")
    random = np.random.default_rng(0)
    tokens = random.integers(0, 64, N + DEPTHS)
    before = random.normal(0, 1, (N, 32)).astype(np.float32)
    with open_gguf(path) as file:
        theirs = _reference(file, tokens, before)
        ours = _torch(file, tokens, before)
    for depth in range(DEPTHS):
        for name in ("hidden", "logits"):
            expected, found = theirs[depth][name], ours[depth][name]
            assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max(), (depth, name)


@pytest.mark.parametrize("verb", ["conv", "decay", "gated_delta"])
def test_verbs_of_recurrent_layers_are_refused(verb: str):
    ops = TorchOps({}, torch.zeros(1), torch.zeros(1, 4), torch.zeros(1), Seen(1, torch.ones(1, 1, 1, dtype=bool)))
    with pytest.raises(UnsupportedError, match=f"training through the verb '{verb}'"):
        getattr(ops, verb)(None, layer=0)


def test_sequences_of_a_batch_and_texts_of_a_sequence_do_not_see_each_other(tmp_path: Path):
    path = with_head(tiny.write_tiny(tmp_path / "tiny.gguf", "qwen35"), tmp_path / "head.gguf")
    random = np.random.default_rng(1)
    tokens, before = random.integers(0, 64, 12), random.normal(0, 1, (12, 32)).astype(np.float32)
    # Two sequences of six rows; the second holds two texts, of two rows and of four.
    texts = np.array([[0] * 6, [1, 1, 2, 2, 2, 2]])
    with open_gguf(path) as file:
        blueprint, tensors = Blueprint(file), _tensors(file)
        sight = torch.from_numpy((texts[:, :, None] == texts[:, None]) & np.tril(np.ones((6, 6), bool)))
        whole = _run(blueprint, tensors, tokens, before, np.arange(12), Seen(2, sight))["hidden"]
        for rows in (slice(0, 6), slice(6, 8), slice(8, 12)):
            n = rows.stop - rows.start
            seen = Seen(1, torch.ones(1, n, n, dtype=torch.bool).tril())
            alone = _run(blueprint, tensors, tokens[rows], before[rows], np.arange(12)[rows], seen)["hidden"]
            torch.testing.assert_close(whole[rows], alone)


@pytest.mark.parametrize("shape", [(7, 32), (5, 3, 16)])
def test_a_norm_has_the_gradient_of_its_parts(shape):
    generator = torch.Generator().manual_seed(1)
    x, slope = (torch.randn(shape, generator=generator) for _ in range(2))
    weight = torch.rand(shape[-1], generator=generator) + 0.5
    ours = [each.clone().requires_grad_() for each in (x, weight)]
    ops = TorchOps({"w": ours[1]}, torch.arange(1), x, torch.arange(1), Seen(1, torch.ones(1, 1, 1, dtype=torch.bool)))
    found = ops.rms_norm(ours[0], WeightRef("w", GGMLType.F32, (shape[-1],), 0), 1e-5)
    double = [each.double().requires_grad_() for each in (x, weight)]
    expected = double[0] / (double[0].square().mean(-1, keepdim=True) + 1e-5).sqrt() * double[1]
    (found * slope).sum().backward()
    (expected * slope.double()).sum().backward()
    torch.testing.assert_close(found.detach(), expected.detach().float(), rtol=1e-5, atol=1e-6)
    for each, other in zip(ours, double, strict=True):
        torch.testing.assert_close(each.grad, other.grad.float(), rtol=1e-4, atol=1e-5)


def _tensors(file):
    return {
        name: torch.from_numpy(dequantize(file.data(name), each.type, each.shape))
        for name, each in file.tensors.items()
    }


def _run(blueprint, tensors, tokens, hidden, positions, seen):
    ops = TorchOps(
        tensors, torch.from_numpy(tokens), torch.as_tensor(hidden), torch.from_numpy(np.asarray(positions)), seen
    )
    blueprint.run(ops)
    return ops.outputs


def _torch(file, tokens, before):
    blueprint, tensors = Blueprint(file), _tensors(file)
    seen = Seen(1, torch.ones(1, N, N, dtype=torch.bool).tril())
    hidden, found = torch.from_numpy(before), []
    for depth in range(DEPTHS):
        rows = np.arange(N) + depth
        outputs = _run(blueprint, tensors, tokens[rows], hidden, rows, seen)
        hidden = outputs["hidden"]
        found.append({name: value.numpy() for name, value in outputs.items()})
    return found


def _reference(file, tokens, before):
    """Of each position in turn: its true rows, then a chain of its own rows, as drafting runs them."""
    limits = Limits(N, N, 1, "f32")
    found = [{"hidden": np.zeros((N, 32), np.float32), "logits": np.zeros((N, 64), np.float32)} for _ in range(DEPTHS)]
    for p in range(N):
        program = ReferenceBackend().compile(load_plan(file).plan, file, limits, load_plan(file).draft).draft
        pages = np.zeros(1, np.int32)
        step = Step(tokens[: p + 1].tolist(), [Segment(0, p + 1, pages)], [p], [p], before[: p + 1])
        for depth in range(DEPTHS):
            result = program.run(step)
            found[depth]["hidden"][p], found[depth]["logits"][p] = result.hidden[0], result.logits[0]
            at = p + depth + 1
            step = Step([int(tokens[at])], [Segment(at, 1, pages)], [0], [0], result.hidden.copy())
    return found
