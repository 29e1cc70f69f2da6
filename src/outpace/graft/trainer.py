"""Training a head: passes over the data in an order that the seed fixes, saved every minute, resumed from any step."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray

from outpace.convert.write import Progress
from outpace.errors import BackendError
from outpace.graft.dataset import Batch, Dataset
from outpace.graft.head import Head, Outcome
from outpace.graft.work import damaged, whole_file

# The learning rate rises over the first steps and falls to a tenth along a cosine.
WARM_UP, FLOOR = 0.05, 0.1
DECAY, CLIP = 0.1, 1.0
MOMENTUM, BETAS = 0.95, (0.9, 0.95)
# Depth k + 1 counts this much of depth k; FastMTP, arXiv:2509.18362.
FADING = 0.6
# How often it is looked at what was not trained on, and how much of it.
LOOKS, LOOKED_AT = 24, 64
SAVE_S = 60.0


@dataclass(frozen=True)
class Recipe:
    """How a head is trained.

    Attributes:
        passes: Passes over the data.
        depths: Guesses in a row that are trained.
        lr: Highest learning rate.
        batch: Blocks of a step.
        seed: Of the order.
        variation: Weight of the total variation in the loss.
        alone: Share of the steps, the first ones, in which the first guess alone is trained.
        dtype: What products are computed in, as torch names it.
    """

    passes: int
    depths: int
    lr: float
    batch: int
    seed: int
    variation: float
    alone: float
    dtype: str


@dataclass
class Curve:
    """What was seen along the way.

    Attributes:
        steps: At which steps.
        loss: Mean loss of the steps since the look before; of held-out text at first.
        kept: Of held-out text, the share of guesses that were kept with all before them, by depth.
    """

    steps: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    kept: list[list[float]] = field(default_factory=list)


class Trainer:
    """A head in training.

    Attributes:
        head: It.
        recipe: How it is trained.
        step: How many steps were made.
        curve: What was seen along the way.

    State: the head's tensors, the optimisers', how many steps were made, the curve; all of it is in the file of the
    state, and a run that finds one goes on from there.
    """

    def __init__(self, head: Head, data: Dataset, recipe: Recipe, path: Path) -> None:
        """Take what is trained, and go on from where it was left.

        Args:
            head: What.
            data: On what; tokens are chosen.
            recipe: How; that of the state, where there is one.
            path: Where the state is kept.
        """
        self.head, self._data, self.recipe, self._path = head, data, recipe, path
        self._optimisers = _optimisers(head, recipe.lr)
        self.step = 0
        self.curve = Curve()
        self._losses: list[float] = []
        if path.exists():
            self._load()

    @property
    def n_steps(self) -> int:
        """Steps in all."""
        return self.recipe.passes * self._steps_a_pass

    @property
    def _steps_a_pass(self) -> int:
        return -(-len(self._data.train) // self.recipe.batch)

    def run(self, progress: Progress) -> None:
        """Train to the end.

        Raises:
            BackendError: The loss is no number any more.
        """
        if not self.curve.steps:
            self._look()
        saved = perf_counter()
        every = max(1, self.n_steps // LOOKS)
        while self.step < self.n_steps:
            loss = self._train()
            if not math.isfinite(loss):
                advice = f"{self._path} is as it was before; train anew with a smaller --lr"
                raise BackendError(f"the training came apart: the loss of step {self.step + 1} is {loss}; {advice}")
            self._losses.append(loss)
            self.step += 1
            progress("training", self.step, self.n_steps)
            if self.step % every == 0 or self.step == self.n_steps:
                self._look()
            if perf_counter() - saved > SAVE_S or self.step == self.n_steps:
                self.save()
                saved = perf_counter()

    def save(self) -> None:
        """Keep everything that goes on from here."""
        state = {
            "step": self.step,
            "curve": asdict(self.curve),
            "losses": self._losses,
            "tensors": {name: each.detach() for name, each in self.head.tensors.items()},
            "optimisers": [each.state_dict() for each in self._optimisers],
        }
        with whole_file(self._path) as part:
            torch.save(state, part)

    def _load(self) -> None:
        try:
            state = torch.load(self._path, map_location="cpu", weights_only=True)
            self.step, self.curve, self._losses = state["step"], Curve(**state["curve"]), state["losses"]
            with torch.no_grad():
                for name, each in self.head.tensors.items():
                    each.copy_(state["tensors"][name])
            for optimiser, kept in zip(self._optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(kept)
        except Exception as error:  # of bytes that are not its own torch says anything
            raise damaged(self._path) from error

    def _blocks(self) -> NDArray[np.int64]:
        """Return the blocks of the next step: each pass goes through all of them in an order of its own."""
        turn, at = divmod(self.step, self._steps_a_pass)
        order = np.random.default_rng([self.recipe.seed, turn]).permutation(len(self._data.train))
        chosen: NDArray[np.int64] = self._data.train[order[at * self.recipe.batch : (at + 1) * self.recipe.batch]]
        return chosen

    def _train(self) -> float:
        for optimiser in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self._rate()
        outcome = self._outcome(self._data.batch(self._blocks(), self._n_depths))
        for optimiser in self._optimisers:
            optimiser.zero_grad()
        outcome.loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.head.tensors.values(), CLIP)
        for optimiser in self._optimisers:
            optimiser.step()
        return float(outcome.loss.detach())

    @property
    def _n_depths(self) -> int:
        """Guesses in a row that the next step trains."""
        return 1 if self.step < self.recipe.alone * self.n_steps else self.recipe.depths

    def _outcome(self, batch: Batch) -> Outcome:
        return self.head.outcome(batch, [FADING**k for k in range(len(batch.depths))], self.recipe.variation)

    def _rate(self) -> float:
        warm = max(1, int(WARM_UP * self.n_steps))
        share = (self.step - warm) / max(1, self.n_steps - warm)
        falling = FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * max(share, 0.0))) / 2
        return self.recipe.lr * min((self.step + 1) / warm, falling)

    @torch.no_grad()
    def _look(self) -> None:
        """Add to the curve how the head fares on text that it is not trained on."""
        held = self._data.held_out
        chosen = held[np.linspace(0, len(held) - 1, min(len(held), LOOKED_AT)).astype(int)]
        rows, kept, loss, n = np.zeros(self.recipe.depths), np.zeros(self.recipe.depths), 0.0, 0
        for at in range(0, len(chosen), self.recipe.batch):
            outcome = self._outcome(self._data.batch(chosen[at : at + self.recipe.batch]))
            rows += outcome.n_rows
            kept += outcome.n_kept
            loss, n = loss + float(outcome.loss), n + 1
        self.curve.steps.append(self.step)
        self.curve.loss.append(float(np.mean(self._losses)) if self._losses else loss / n)
        self.curve.kept.append((kept / np.maximum(rows, 1)).tolist())
        self._losses = []


def _optimisers(head: Head, lr: float) -> list[torch.optim.Optimizer]:
    """Return what changes a head: matrices by steps of one size in every direction, the rest by AdamW.

    Source: Jordan et al. 2024, Muon; its rate is one for AdamW by Liu et al. 2025 (arXiv:2502.16982).
    """
    matrices = [each for each in head.tensors.values() if each.ndim == 2]
    rest = [each for each in head.tensors.values() if each.ndim != 2]
    muon = torch.optim.Muon(matrices, lr, DECAY, MOMENTUM, adjust_lr_fn="match_rms_adamw")
    return [muon, *([torch.optim.AdamW(rest, lr, BETAS, weight_decay=0.0, fused=True)] if rest else [])]


def fastest_dtype(device: str) -> str:
    """Return the type in which a device multiplies fastest, of those that are exact enough to train with."""
    if device != "cpu":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    taken = {}
    for dtype in (torch.float32, torch.bfloat16):
        x, y = torch.ones(512, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
        times = []
        for _ in range(5):
            began = perf_counter()
            torch.mm(x, y)
            times.append(perf_counter() - began)
        taken[str(dtype).removeprefix("torch.")] = min(times)
    return "bfloat16" if taken["bfloat16"] < 0.7 * taken["float32"] else "float32"
