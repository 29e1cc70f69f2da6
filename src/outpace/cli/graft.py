"""`outpace graft`: a head that drafts, for a model that has none; commands with more to say have files of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from outpace.cli import options as o
from outpace.cli.graft_measure import measure
from outpace.cli.graft_train import train, tune
from outpace.cli.written import line, numbers

app = typer.Typer(help="Give a model a head that drafts, or take it off.", no_args_is_help=True)
app.command()(measure)
app.command()(train)
app.command()(tune)

Out = Annotated[Path, typer.Option("-o", "--out", metavar="OUT", show_default=False, help="The file to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that are there.")]


@app.command()
def attach(
    model: Annotated[
        str,
        typer.Argument(metavar="BASE", show_default=False, help="A model without a head, named as MODEL elsewhere."),
    ],
    donor: Annotated[
        str,
        typer.Argument(
            metavar="DONOR",
            show_default=False,
            help="Where the head is: a model with one, a head's file, or a folder with safetensors and MTP layers.",
        ),
    ],
    out: Out,
    type: Annotated[  # noqa: A002
        str | None,
        typer.Option(
            "--type", metavar="TYPE", help="Of a folder's matrices, as in convert (default: Q8_0); a file's stay."
        ),
    ] = None,
    force: Force = False,
    threads: o.Threads = None,
    as_json: o.Json = False,
) -> None:
    """Write a model with the head of another file, its MTP layers or Medusa heads, checked to fit.

    Every tensor of the model keeps its bytes. The file appears when it is complete.
    """
    from outpace import hub
    from outpace.cli.machine import threads_of
    from outpace.cli.progress import Meter, note
    from outpace.graft.attach import attach as put_on

    n_threads, _ = threads_of(threads)
    with Meter() as meter:
        found = hub.resolve(model, progress=meter, is_bare=True)
        head = Path(donor) if Path(donor).is_dir() else hub.resolve(donor, progress=meter)
    with Meter() as meter:
        written = put_on(found, head, out, type=type, is_forced=force, n_threads=n_threads, progress=meter)
    for each in written.notes:
        note(each)
    typer.echo(line(written))
    if as_json:
        typer.echo(json.dumps(numbers(written) | {"types": written.types, "notes": list(written.notes)}))


@app.command()
def detach(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", show_default=False, help="A model with a head, named as MODEL elsewhere."),
    ],
    out: Out,
    kind: Annotated[
        str | None,
        typer.Option("--kind", metavar="KIND", help="Which heads: mtp or medusa (default: all that there are)."),
    ] = None,
    head: Annotated[
        Path | None, typer.Option("--head", metavar="HEAD", help="Where to write the head, in a file of its own.")
    ] = None,
    force: Force = False,
    as_json: o.Json = False,
) -> None:
    """Write a model without its heads, MTP layers and Medusa heads, and those in a file of their own.

    Every tensor keeps its bytes. The files appear when they are complete.
    """
    from outpace import hub
    from outpace.cli.progress import Meter
    from outpace.gguf.heads import KINDS
    from outpace.graft.detach import detach as take_off

    kinds = KINDS if kind is None else (kind,)
    with Meter() as meter:
        found = hub.resolve(file, progress=meter)
    with Meter() as meter:
        parts = take_off(found, out, head, kinds=kinds, is_forced=force, progress=meter)
    for written in (parts.trunk, parts.head):
        if written is not None:
            typer.echo(line(written))
    if as_json:
        answer = numbers(parts.trunk) | {"head": None if parts.head is None else numbers(parts.head)}
        typer.echo(json.dumps(answer))
