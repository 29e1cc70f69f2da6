"""What a new head begins as: the best linear guess of the next state, found here pair by pair in float64."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tests.support import shards, tiny
from tests.support.rewritten import rewritten

from outpace.errors import ModelFileError
from outpace.gguf.file import open_gguf
from outpace.gguf.quants import dequantize
from outpace.gguf.types import GGMLType

torch = pytest.importorskip("torch", reason="training needs torch")

from outpace.graft.blueprint import Blueprint  # noqa: E402 - imports torch
from outpace.graft.dataset import Dataset  # noqa: E402
from outpace.graft.head import chained  # noqa: E402
from outpace.graft.kinds import kind  # noqa: E402
from outpace.graft.start import check_own  # noqa: E402
from outpace.graft.train import Job, train  # noqa: E402

V, D, BLOCK = 64, 32, 16


@pytest.fixture(params=["llama", "qwen3", "qwen35", "qwen35moe"])
def given(request, tmp_path: Path):
    """A model without a head, and text whose states are partly what the state before and the token make likely."""
    random = np.random.default_rng(4)
    texts = [shards.draw(random, V, lambda n: np.cumsum(random.normal(0, 1, (n, D)), 0)) for _ in range(60)]
    shards.write(tmp_path, 0, texts)
    path = tiny.write_tiny(tmp_path / "tiny.gguf", request.param, n_mtp=0, seed=3)
    with open_gguf(path) as file:
        data = Dataset(tmp_path, 1, V, BLOCK, 1)
        data.narrow(V)
        yield Blueprint(file), data, texts


def _array(file, name: str) -> np.ndarray:
    each = file.tensors[name]
    return dequantize(file.data(name), each.type, each.shape).astype(np.float64)


def _unit(x: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)


def _pairs(blueprint: Blueprint, data: Dataset, texts) -> tuple[np.ndarray, np.ndarray]:
    """Of each place to train on: its token and the state before it [n, 2 D], and its own before the norm [n, D]."""
    file, eps = blueprint.file, blueprint.config.norm_eps
    table, norm = _array(file, "token_embd.weight"), _array(file, "output_norm.weight")
    places = [(text, p) for text in texts for p in range(len(text.tokens))]
    given, wanted = [], []
    for _, at in data.train.tolist():
        block = places[at : at + BLOCK]
        for (text, p), following in pairwise(block):
            # Its state is that which the next row is given; guesses are made in answers, and not after their end.
            if p >= text.n_prompt and following[0] is text:
                before = text.hidden[p - 1].astype(np.float64)
                given.append(np.concatenate([_unit(table[text.tokens[p]], eps), _unit(before, eps)]))
                wanted.append(text.hidden[p] / norm)
    return np.array(given), np.array(wanted)


def test_the_first_projection_is_the_least_squares_of_the_text(given):
    blueprint, data, texts = given
    assert not blueprint.has_head
    x, y = _pairs(blueprint, data, texts)
    squares = x.T @ x
    squares += np.eye(2 * D) * 1e-3 * np.diag(squares).mean()
    expected = np.linalg.solve(squares, x.T @ y).T
    found = kind("mtp").start(blueprint, data)[f"{blueprint.prefix}nextn.eh_proj.weight"].numpy()
    assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()
    # And it guesses: far nearer than the mean does.
    assert ((x @ found.T - y) ** 2).mean() < 0.5 * y.var()


def test_the_block_adds_nothing_and_can_learn(given):
    blueprint, data, _ = given
    tensors = kind("mtp").start(blueprint, data)
    assert tensors.keys() == blueprint.shapes.keys()
    batch = data.batch(data.train[:4])
    frozen = {name: torch.from_numpy(_array(blueprint.file, name)).float() for name in blueprint.frozen}
    held = {name: each.requires_grad_() for name, each in tensors.items()}
    (found,) = chained(blueprint, frozen | held, batch, torch.float32)
    eps = blueprint.config.norm_eps
    table, norm = frozen["token_embd.weight"].numpy(), _array(blueprint.file, "output_norm.weight")
    rows = np.hstack([_unit(table[batch.depths[0].tokens.numpy()], eps), _unit(batch.hidden.numpy(), eps)])
    linear = rows @ tensors[f"{blueprint.prefix}nextn.eh_proj.weight"].detach().numpy().T
    np.testing.assert_allclose(found.detach().numpy(), _unit(linear, eps) * norm, rtol=2e-3, atol=2e-4)
    found.square().sum().backward()
    moved = {
        name.removeprefix(blueprint.prefix) for name, each in held.items() if each.grad is not None and each.grad.any()
    }
    assert "attn_output.weight" in moved and any(name.startswith("ffn_down") for name in moved)


def test_a_head_that_is_there_is_what_training_starts_from(tmp_path):
    random = np.random.default_rng(4)
    shards.write(tmp_path, 0, [shards.draw(random, V, lambda n: random.normal(0, 1, (n, D))) for _ in range(30)])
    with open_gguf(tiny.write_tiny(tmp_path / "tiny.gguf", "qwen35")) as file:
        data = Dataset(tmp_path, 1, V, BLOCK, 1)
        data.narrow(V)
        blueprint = Blueprint(file)
        assert blueprint.has_head
        for name, each in kind("mtp").start(blueprint, data).items():
            np.testing.assert_array_equal(each.numpy(), _array(file, name).astype(np.float32))


@pytest.mark.parametrize("of", ["nextn.eh_proj.weight", "attn_output.weight"])
def test_a_head_of_no_numbers_is_told_before_any_work(of, tmp_path):
    path = tiny.write_tiny(tmp_path / "tiny.gguf", "qwen35")
    with open_gguf(path) as file:
        check_own(Blueprint(file))
        (name,) = (each for each in Blueprint(file).shapes if each.endswith(of))
        values = _array(file, name).astype(np.float32)
    values.flat[-1] = np.inf
    broken = rewritten(path, tmp_path, tensors={name: (GGMLType.F32, values.shape, values)})
    job = Job(base=broken, out=tmp_path / "out.gguf")
    with pytest.raises(ModelFileError, match=re.escape(f"tensor '{name}': holds values that are not finite")):
        train(job, lambda *_: None)
    assert not (tmp_path / "out.gguf.graft").exists()
