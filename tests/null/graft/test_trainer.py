"""Training: which guesses each step learns from, and that a stop in between changes no bit."""

import math
from pathlib import Path

import numpy as np
import pytest
from tests.support import shards, tiny

from outpace.errors import BackendError
from outpace.gguf.file import open_gguf

torch = pytest.importorskip("torch", reason="training needs torch")

from outpace.graft.dataset import Dataset  # noqa: E402 - imports torch
from outpace.graft.head import Head  # noqa: E402
from outpace.graft.kinds import kind  # noqa: E402
from outpace.graft.trainer import Recipe, Trainer  # noqa: E402

V, D, BLOCK = 64, 32, 16


@pytest.fixture
def made(tmp_path: Path):
    """Makes a trainer on the same text each time, from a share of first guesses alone, depths and a state's file."""
    random = np.random.default_rng(4)
    shards.write(tmp_path, 0, [shards.draw(random, V, lambda n: random.normal(0, 1, (n, D))) for _ in range(60)])
    with open_gguf(tiny.write_tiny(tmp_path / "tiny.gguf", "llama", seed=3)) as file:

        def make(alone: float, depths: int, state: str) -> Trainer:
            chosen = kind("mtp")
            design, data = chosen.design(file, depths), Dataset(tmp_path, 1, V, BLOCK, depths)
            kept = data.narrow(V)
            head = Head(design, chosen.start(design, data), kept, chosen.unroll)
            recipe = Recipe(2, depths, 1e-2, 8, 0, 0.0, alone, "float32")
            return Trainer(head, data, recipe, tmp_path / state)

        yield make


def _trained(trainer: Trainer) -> dict[str, np.ndarray]:
    trainer.run(lambda stage, done, total: None)
    return {name: each.detach().numpy().copy() for name, each in trainer.head.tensors.items()}


def _differ(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return any((a[name] != b[name]).any() for name in a)


def test_first_guesses_alone_for_all_steps_are_a_training_of_depth_one(made):
    alone, shallow = made(1.0, 3, "a.pt"), made(0.0, 1, "b.pt")
    assert not _differ(_trained(alone), _trained(shallow))
    # Of all depths, though, it is told how they fare.
    assert {len(each) for each in alone.curve.kept} == {3}


def test_the_share_ends_where_it_says(made):
    halves, deep = made(0.5, 3, "a.pt"), made(0.0, 3, "b.pt")
    seen = []
    outcome = halves.head.outcome
    halves.head.outcome = lambda batch, weights, variation: (
        (seen.append(len(weights)) if torch.is_grad_enabled() else None) or outcome(batch, weights, variation)
    )
    assert _differ(_trained(halves), _trained(deep))
    n = halves.n_steps
    assert seen == [1] * (n // 2 + n % 2) + [3] * (n // 2)


def test_a_training_that_was_stopped_goes_on_to_the_same_bits(made):
    whole = _trained(made(0.5, 2, "whole.pt"))
    stopped = made(0.5, 2, "stopped.pt")

    def stop(stage: str, done: int, total: int) -> None:
        if done == total // 2 + 1:
            stopped.save()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped.run(stop)
    assert not _differ(whole, _trained(made(0.5, 2, "stopped.pt")))


def test_a_loss_that_is_no_number_ends_it_and_keeps_what_was_saved(made, monkeypatch):
    trainer = made(0.5, 2, "state.pt")
    trainer.save()
    before = trainer._path.read_bytes()
    losses = iter([0.5, math.nan])
    monkeypatch.setattr(trainer, "_train", lambda: next(losses))
    with pytest.raises(BackendError, match=r"the loss of step 2 is nan; .* train anew with a smaller --lr"):
        trainer.run(lambda *_: None)
    assert trainer._path.read_bytes() == before
