"""`outpace convert`: a GGUF file from a Hugging Face folder, or from another GGUF file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from outpace.cli import options as o
from outpace.cli.written import line, numbers

Type = Annotated[
    str,
    typer.Option(
        "--type", metavar="TYPE", help="Type of the matrices: F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q4_K_M or Q4_0."
    ),
]
Mtp = Annotated[
    str,
    typer.Option(
        "--mtp",
        metavar="WHAT",
        help="Layers that predict further tokens: keep them, write them only (a head file), or none of them.",
    ),
]


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            show_default=False,
            help="A folder with config.json and safetensors files, or a GGUF file, as MODEL elsewhere.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", show_default=False, help="The file to write.")],
    type: Type = "Q8_0",  # noqa: A002
    mtp: Mtp = "keep",
    pre: Annotated[
        str | None,
        typer.Option(
            "--pre", metavar="NAME", help="Name of the way of cutting text (default: recognised from tokenizer.json)."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it is there.")] = False,
    threads: o.Threads = None,
    as_json: o.Json = False,
) -> None:
    """Write a GGUF file of a model, with the layers that predict further tokens, in the type that is asked for.

    The file appears when it is complete. A few pieces of tensors are in memory at a time, whatever the model's size.
    """
    from outpace import hub
    from outpace.cli.machine import threads_of
    from outpace.cli.progress import Meter, note
    from outpace.convert.conversion import convert as convert_model
    from outpace.errors import readable_bytes

    n_threads, _ = threads_of(threads)
    with Meter() as meter:
        found = Path(source) if Path(source).is_dir() else hub.resolve(source, progress=meter)
    with Meter() as meter:
        written = convert_model(
            found,
            out,
            type=type,
            mtp=mtp,
            pre=pre,
            is_forced=force,
            n_threads=n_threads,
            progress=meter,
        )
    for each in written.notes:
        note(each)
    kinds = ", ".join(f"{name} {readable_bytes(n)}" for name, n in written.types.items())
    typer.echo(f"{line(written)} ({kinds})")
    if as_json:
        typer.echo(json.dumps(numbers(written) | {"types": written.types, "notes": list(written.notes)}))
