"""`outpace graft train` and `outpace graft tune`: a head made for a model, or made better, from text that it writes."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from outpace.cli import options as o

if TYPE_CHECKING:
    from outpace.graft.train import Grafted

TEXT, TRAINING = "Text", "Training"
# Where nobody watches a terminal, a line this often.
LINE_S = 60.0

Base = Annotated[
    str,
    typer.Argument(metavar="BASE", show_default=False, help="A model, named as MODEL elsewhere; it is not changed."),
]
Headed = Annotated[
    str, typer.Argument(metavar="FILE", show_default=False, help="A model with a head, named as MODEL elsewhere.")
]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="OUT", show_default=False, help="The file to write.")]
Kind = Annotated[
    str,
    typer.Option(
        "--kind",
        metavar="KIND",
        help="What to train: mtp, a layer that goes on from its own guesses, or medusa, a small matrix for each guess.",
    ),
]
TunedKind = Annotated[
    str | None,
    typer.Option("--kind", metavar="KIND", help="What to train further: mtp or medusa (default: what FILE has)."),
]
Work = Annotated[
    Path | None,
    typer.Option(
        "--work",
        metavar="FOLDER",
        help="Where everything is kept on the way; heads of both kinds may share one (default: OUT.graft).",
    ),
]
HeadOnly = Annotated[
    Path | None, typer.Option("--head-only", metavar="HEAD", help="Where to write the head in a file of its own too.")
]
Prompts = Annotated[
    Path | None,
    typer.Option(
        "--prompts",
        metavar="PROMPTS",
        rich_help_panel=TEXT,
        help="What to answer: a prompt a line, or paragraphs, or JSON Lines (default: those that are shipped).",
    ),
]
OwnPrompts = Annotated[
    Path,
    typer.Option(
        "--prompts",
        metavar="PROMPTS",
        show_default=False,
        rich_help_panel=TEXT,
        help="What to answer: a prompt a line, or paragraphs, or JSON Lines.",
    ),
]
Tokens = Annotated[
    int, typer.Option("--tokens", metavar="N", rich_help_panel=TEXT, help="Tokens of text that the model writes.")
]
Parallel = Annotated[
    int, typer.Option("-np", "--parallel", metavar="S", rich_help_panel=TEXT, help="Texts that are written at a time.")
]
Passes = Annotated[int, typer.Option("--passes", metavar="N", rich_help_panel=TRAINING, help="Passes over the text.")]
Depths = Annotated[
    int, typer.Option("--depths", metavar="N", rich_help_panel=TRAINING, help="Guesses in a row that are trained.")
]
Rate = Annotated[float, typer.Option("--lr", metavar="RATE", rich_help_panel=TRAINING, help="Highest learning rate.")]
Batch = Annotated[
    int, typer.Option("--batch", metavar="N", rich_help_panel=TRAINING, help="Blocks of 256 positions in a step.")
]
Vocabulary = Annotated[
    int,
    typer.Option(
        "--vocabulary", metavar="N", rich_help_panel=TRAINING, help="Most tokens that guesses may be in training."
    ),
]
Variation = Annotated[
    float,
    typer.Option(
        "--variation",
        metavar="W",
        rich_help_panel=TRAINING,
        help="Weight of the total variation beside the divergence in the loss.",
    ),
]
Seed = Annotated[int, typer.Option("-s", "--seed", metavar="SEED", help="Of everything that is drawn.")]
Type = Annotated[
    str, typer.Option("--type", metavar="TYPE", help="Type of the head's matrices, as `outpace convert` has them.")
]
Device = Annotated[str, typer.Option("--device", metavar="DEVICE", help="Where to train: cpu, cuda, cuda:1.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]


def train(
    base: Base,
    out: Out,
    kind: Kind = "mtp",
    head_only: HeadOnly = None,
    work: Work = None,
    prompts: Prompts = None,
    tokens: Tokens = 2_000_000,
    parallel: Parallel = 32,
    passes: Passes = 4,
    depths: Depths = 3,
    lr: Rate = 1e-3,
    batch: Batch = 8,
    vocabulary: Vocabulary = 8192,
    variation: Variation = 0.0,
    seed: Seed = 0,
    type: Type = "Q8_0",  # noqa: A002
    device: Device = "cpu",
    threads: o.Threads = None,
    force: Force = False,
    as_json: o.Json = False,
) -> None:
    """Train a head for a model that has none, on text that the model writes, and write both as one file.

    Everything is kept in a folder (--work): the same command goes on where it was stopped, at whatever moment. A
    head that makes the model slower on this machine is not written.
    """
    _make(
        base, kind, is_tuned=False, as_json=as_json, out=out, head_only=head_only, work=work, prompts=prompts,
        tokens=tokens, parallel=parallel, passes=passes, depths=depths, lr=lr, batch=batch, vocabulary=vocabulary,
        variation=variation, seed=seed, type=type, device=device, threads=threads, is_forced=force,
    )  # fmt: skip


def tune(
    file: Headed,
    out: Out,
    prompts: OwnPrompts,
    kind: TunedKind = None,
    head_only: HeadOnly = None,
    work: Work = None,
    tokens: Tokens = 500_000,
    parallel: Parallel = 32,
    passes: Passes = 3,
    depths: Depths = 3,
    lr: Rate = 3e-4,
    batch: Batch = 8,
    vocabulary: Vocabulary = 8192,
    variation: Variation = 0.0,
    seed: Seed = 0,
    type: Type = "Q8_0",  # noqa: A002
    device: Device = "cpu",
    threads: o.Threads = None,
    force: Force = False,
    as_json: o.Json = False,
) -> None:
    """Train the head that a file has further, on the model's answers to your own prompts; see `train`."""
    _make(
        file, kind, is_tuned=True, as_json=as_json, out=out, head_only=head_only, work=work, prompts=prompts,
        tokens=tokens, parallel=parallel, passes=passes, depths=depths, lr=lr, batch=batch, vocabulary=vocabulary,
        variation=variation, seed=seed, type=type, device=device, threads=threads, is_forced=force,
    )  # fmt: skip


def _make(base: str, kind: str | None, *, is_tuned: bool, as_json: bool, **settings: Any) -> None:
    from outpace import hub
    from outpace.errors import BackendError, ConfigError
    from outpace.gguf.file import open_gguf
    from outpace.gguf.heads import NAMES, check_kind, kinds_of

    if kind is not None:
        check_kind(kind)
    if find_spec("torch") is None:
        raise BackendError("training needs torch, which is not installed; pip install 'outpace[graft]' installs it")
    with _Stages() as stages:
        path = hub.resolve(base, progress=stages, is_bare=not is_tuned)
    with open_gguf(path) as file:
        kinds = kinds_of(file.metadata)
    kind = kind or next(iter(kinds), "mtp")
    if (kind in kinds) is not is_tuned:
        expected = (
            f"a model with a head, {NAMES[kind]} (`outpace graft train` makes one)"
            if is_tuned
            else f"a model without {NAMES[kind]} (`outpace graft tune` trains what it has, `graft detach` takes it off)"
        )
        raise ConfigError("FILE" if is_tuned else "BASE", base, expected)
    from outpace.graft.train import Job, train

    with _Stages() as stages:
        found = train(Job(base=path, kind=kind, **settings), stages)
    _tell(found, as_json=as_json)


def _tell(found: Grafted, *, as_json: bool) -> None:
    from outpace.cli.progress import note
    from outpace.errors import readable_bytes
    from outpace.graft.report import table

    for line in found.notes:
        note(line)
    typer.echo("share of rounds that kept the guesses up to each depth, over training, on text held out")
    for line in [*found.curve, "", *table(found.report), ""]:
        typer.echo(line)
    typer.echo(f"{found.written.path}: {readable_bytes(found.written.n_bytes)}, with its head")
    if as_json:
        answer = {"path": str(found.written.path), "bytes": found.written.n_bytes}
        typer.echo(
            json.dumps(answer | {"before": found.report.before.as_json(), "after": found.report.after.as_json()})
        )


class _Stages:
    """Progress of work that takes hours: a bar with the time left, or a line now and then where nobody watches.

    State: the bar of the stage that is under way.
    """

    def __init__(self) -> None:
        from outpace.cli.progress import Meter

        self._meter = Meter
        self._what, self._began, self._first, self._said = "", 0.0, 0, 0.0
        self._bar: Meter | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` is done of a stage."""
        now = perf_counter()
        if what != self._what:
            self.close()
            self._what, self._began, self._first, self._said = what, now, done, now
            self._bar = self._meter("tokens")
        assert self._bar is not None
        # What an earlier run has done tells nothing of the speed.
        share = (done - self._first) / max(total - self._first, 1)
        left = (now - self._began) * (1 - share) / share if share > 0 else None
        text = what if left is None else f"{what}, {_readable(left)} left"
        self._bar(text, done, total)
        if not sys.stderr.isatty() and now - self._said > LINE_S:
            from outpace.cli.progress import note

            note(f"{text} ({done} of {total})")
            self._said = now

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _readable(seconds: float) -> str:
    """Return a duration as a person reads it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
