"""`outpace pull`: a model's file, fetched and checked."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from outpace.cli import options as o


def pull(
    model: o.Model,
    offline: Annotated[
        bool, typer.Option("--offline", help="Never use the network; what is not in the cache is an error.")
    ] = False,
    as_json: o.Json = False,
) -> None:
    """Fetch a model and print where its file is."""
    from outpace import hub
    from outpace.cli.progress import Meter

    with Meter() as meter:
        path = hub.resolve(model, progress=meter, offline=offline)
    typer.echo(str(path))
    if as_json:
        typer.echo(json.dumps({"path": str(path), "bytes": path.stat().st_size}))
