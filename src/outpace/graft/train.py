"""From a model without a head (or with one) to one with a trained one; text and training go on where they stopped."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from outpace.backends.cpu import CpuBackend
from outpace.config import MOST_PARALLEL, MOST_THREADS, whole
from outpace.convert.mix import MIXES
from outpace.convert.write import Progress, Written, check_target
from outpace.errors import BackendError, ConfigError, nearest
from outpace.gguf.file import open_gguf
from outpace.gguf.heads import check_kind
from outpace.graft import kinds, plot, report
from outpace.graft.dataset import Dataset
from outpace.graft.design import Design
from outpace.graft.detach import detach
from outpace.graft.head import Head
from outpace.graft.kinds import Kind
from outpace.graft.prompts import read_prompts, training_prompts
from outpace.graft.report import Report
from outpace.graft.result import write_head, write_whole
from outpace.graft.start import check_own
from outpace.graft.text import PromptReader, write_text
from outpace.graft.trainer import Recipe, Trainer, fastest_dtype
from outpace.graft.work import agree, identity, kept_settings, whole_file, work_folder
from outpace.models import load_plan
from outpace.spread import LEAST_ROUNDS

# Positions of a block: of a longer text, what lies before is not seen.
BLOCK = 256
# In the work folder: the head as training began with it.
START = "start.gguf"
# What must be a whole number from 1 up, and how far up.
MOST = {
    "tokens": None,
    "passes": None,
    "depths": 8,
    "batch": None,
    "vocabulary": None,
    "parallel": MOST_PARALLEL,
}
# Of a user's own prompts one in so many is kept to judge by, if there are twice as many; of few more of them.
JUDGED = 20


@dataclass(frozen=True)
class Job:
    """What is to be made, and how.

    Attributes:
        base: The model's file.
        out: The file to write.
        kind: What is trained, of `gguf.heads.KINDS`.
        work: Where everything is kept until then: heads of both kinds may share its text. OUT.graft if not given.
        head_only: Where to write the head alone too.
        prompts: What is answered to make text; the prompts that are shipped where it is not given.
        tokens: Tokens of text, the prompts not counted.
        passes: Passes over them.
        depths: Guesses in a row that are trained.
        lr: Highest learning rate.
        batch: Blocks of 256 positions of a step.
        vocabulary: Most tokens that guesses may be while training.
        variation: Weight of the total variation in the loss.
        seed: Of everything that is drawn.
        type: Type of the head's matrices, as `outpace convert` names it.
        parallel: Texts written at a time.
        threads: Threads that compute.
        device: Where to train, as torch names it.
        is_forced: Replace files that are there.
    """

    base: Path
    out: Path
    kind: str = "mtp"
    work: Path | None = None
    head_only: Path | None = None
    prompts: Path | None = None
    tokens: int = 2_000_000
    passes: int = 4
    depths: int = 3
    lr: float = 1e-3
    batch: int = 8
    vocabulary: int = 8192
    variation: float = 0.0
    seed: int = 0
    type: str = "Q8_0"
    parallel: int = 32
    threads: int | None = None
    device: str = "cpu"
    is_forced: bool = False

    def __post_init__(self) -> None:
        check_kind(self.kind)
        for name, most in MOST.items():
            whole(f"--{name}", getattr(self, name), 1, most)
        if self.threads is not None:
            whole("threads", self.threads, 1, MOST_THREADS)
        whole("--seed", self.seed, 0, 2**64 - 1)
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ConfigError("--lr", self.lr, "a number above 0")
        if not (math.isfinite(self.variation) and self.variation >= 0):
            raise ConfigError("--variation", self.variation, "a number from 0 up")
        if self.type not in MIXES:
            raise ConfigError("--type", self.type, f"one of {', '.join(MIXES)}{nearest(self.type, MIXES)}")


@dataclass(frozen=True)
class Grafted:
    """What was made.

    Attributes:
        written: The file.
        report: What the head is worth.
        curve: A line for each depth, of how it rose.
        notes: What a person should know.
    """

    written: Written
    report: Report
    curve: Sequence[str]
    notes: tuple[str, ...]


def train(job: Job, progress: Progress, judge: Callable[..., Report] = report.judged) -> Grafted:
    """Train a head and write it into a copy of its model.

    Args:
        job: What to do; where it was begun before, it goes on.
        progress: Told each stage, what is done of it and how much there is.
        judge: Tells what a head is worth (see `report.judged`).

    Raises:
        ConfigError: A setting cannot be, or is another than when the work was begun.
        ModelFileError: BASE is damaged, or what is kept in the work folder.
        BackendError: There is no such device, it has too little memory, the training comes apart, or the model gets
            slower with this head.
        UnsupportedError: The architecture has no draft program.
    """
    check_target(job.out, job.is_forced)
    if job.head_only is not None:
        check_target(job.head_only, job.is_forced, "--head-only")
        for name, other in (("BASE", job.base), ("OUT", job.out)):
            if job.head_only.resolve() == other.resolve():
                raise ConfigError("--head-only", str(job.head_only), f"another file than {name}")
    device = _device(job.device)
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    with open_gguf(job.base) as file:
        load_plan(file)  # what is wrong with it, or lacks in a head that it has, is said now
        kind = kinds.kind(job.kind)
        design = kind.design(file, job.depths)
        check_own(design)
        own, left_out = _own_prompts(job, design)
        with work_folder(job.out, job.work) as folder:
            # Text is any head's; the rest of a Medusa head's lies apart from that of the other kind.
            own_folder = folder if job.kind == "mtp" else folder / job.kind
            own_folder.mkdir(exist_ok=True)
            _agree(job, design, folder, own)
            head_path = own_folder / "head.gguf"
            trunk = _trunk(job, design, own_folder, progress)
            asked, answered = _prompts(job, own)
            n_shards = _text(job, design, folder, answered, progress)
            data = Dataset(folder, n_shards, design.config.n_vocab, BLOCK, job.depths)
            try:
                trainer = _trainer(job, kind, design, data, own_folder, device)
                trainer.run(progress)
            except torch.OutOfMemoryError:
                advice = "a smaller --batch needs less, and what was done is kept"
                raise BackendError(f"the device '{device}' has too little memory for this training; {advice}") from None
            write_head(design, trainer.head.tensors, trainer.head.vocabulary, MIXES[job.type], head_path)
            found = judge(trunk, own_folder / START, head_path, asked, job.depths, job.threads, progress, job.kind)
            notes = left_out + report.write(found, trainer.curve, dataclasses.asdict(job), job.out)
            if found.refusal:
                raise BackendError(
                    f"{found.refusal}, so {job.out} is not written; what was trained is kept in {folder}"
                )
            if job.head_only is not None:
                with whole_file(job.head_only) as part:
                    part.write_bytes(head_path.read_bytes())
            return Grafted(write_whole(trunk, head_path, job.out, progress), found, plot.lines(trainer.curve), notes)


def _device(name: str) -> str:
    """Return a device that is there, as torch names it."""
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:
        raise BackendError(f"torch cannot compute on the device '{name}': {str(error).splitlines()[0]}") from error
    return name


def _trunk(job: Job, design: Design, folder: Path, progress: Progress) -> Path:
    """Return a file without a head of this kind: the model's own, or one without the head that it has."""
    if not design.has_head:
        return job.base
    path = folder / "trunk.gguf"
    if not path.exists():
        detach(job.base, path, kinds=(job.kind,), progress=progress)
    return path


def _own_prompts(job: Job, design: Design) -> tuple[list[str] | None, tuple[str, ...]]:
    """Return a user's own prompts, if there are any, without those too long, and what to say of these."""
    if job.prompts is None:
        return None, ()
    found, read = read_prompts(job.prompts), PromptReader(design.file.metadata)
    kept = [prompt for prompt in found if read(prompt)]
    if not kept:
        raise ConfigError("--prompts", str(job.prompts), f"prompts of at most {read.most} tokens")
    n_left = len(found) - len(kept)
    said = f"{n_left} of {len(found)} prompts are left out: they have more than {read.most} tokens"
    return kept, (said,) if n_left else ()


def _prompts(job: Job, own: list[str] | None) -> tuple[Mapping[str, Sequence[str]] | None, Iterator[str] | list[str]]:
    """Return the prompts to judge by, None for those that are shipped, and those to answer."""
    if own is None:
        return None, training_prompts(job.seed)
    if len(own) < 2 * JUDGED:
        return None, own
    # Of fewer nothing could be said of the head's speed.
    step = min(JUDGED, len(own) // LEAST_ROUNDS)
    return {"yours": own[step - 1 :: step]}, [each for i, each in enumerate(own) if i % step != step - 1]


def _agree(job: Job, design: Design, folder: Path, own: list[str] | None) -> None:
    """Refuse a folder with the work on another model or text, before anything is put there or taken from there."""
    settings = {
        "model": identity(design.file),
        "prompts": own,
        "parallel": job.parallel,
        "seed": job.seed,
    }
    agree(folder / "text.json", settings, f"or remove {folder} to begin anew")


def _text(job: Job, design: Design, folder: Path, prompts: Iterator[str] | list[str], progress: Progress) -> int:
    backend = CpuBackend(job.threads, progress=lambda done, total: progress("loading", done, total))
    return write_text(
        folder, design, backend, prompts, job.tokens,
        seed=job.seed, parallel=job.parallel, progress=progress,
    )  # fmt: skip


def _trainer(job: Job, kind: Kind, design: Design, data: Dataset, folder: Path, device: str) -> Trainer:
    """Return a training that is begun, or goes on with the settings that it was begun with; writes its start.gguf."""
    kept = data.narrow(job.vocabulary)
    if not len(kept):
        raise ConfigError("--tokens", job.tokens, "more: the text that was written has no position to train on")
    at = folder / "training"
    at.mkdir(exist_ok=True)
    agreed = at / "settings.json"
    dtype = kept_settings(agreed).get("dtype") or fastest_dtype(device)

    recipe = Recipe(job.passes, job.depths, job.lr, job.batch, job.seed, job.variation, kind.alone, dtype)
    settings = dataclasses.asdict(recipe) | {"tokens": job.tokens, "vocabulary": job.vocabulary}
    agree(agreed, settings, f"or remove {at} to train anew on the text that is there")
    tensors = kind.start(design, data)
    write_head(design, tensors, kept, MIXES[job.type], folder / START)
    head = Head(design, tensors, kept, kind.unroll, device=device, dtype=getattr(torch, dtype))
    return Trainer(head, data, recipe, at / "state.pt")
