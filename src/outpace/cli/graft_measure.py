"""`outpace graft measure`: what the head of a file is worth on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from outpace.cli import columns
from outpace.cli import options as o

if TYPE_CHECKING:
    from outpace.graft.measure import Measured, Part

HeadedFile = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        show_default=False,
        help="A model with a head or a --draft-model, named as MODEL elsewhere.",
    ),
]
Prompts = Annotated[
    Path | None,
    typer.Option(
        "--prompts",
        metavar="PROMPTS",
        help="What to ask: a prompt a line, or paragraphs, or JSON Lines (default: 20 each for code, facts and prose).",
    ),
]


def measure(
    file: HeadedFile,
    draft_model: o.DraftModel = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", metavar="KIND", help="Which head, where FILE has both: mtp or medusa."),
    ] = None,
    prompts: Prompts = None,
    predict: Annotated[
        int, typer.Option("-n", "--predict", metavar="N", min=2, help="Most tokens of an answer.")
    ] = 128,
    depth: Annotated[
        int, typer.Option("-d", "--depth", metavar="N", help="Tokens that the head drafts each round to be judged.")
    ] = 3,
    repeat: Annotated[int, typer.Option("-r", "--repeat", metavar="R", min=1, help="Times everything is asked.")] = 1,
    ctx_size: o.Context = None,
    threads: o.Threads = None,
    temp: o.Temperature = 0.0,
    seed: o.Seed = 0,
    as_json: o.Json = False,
) -> None:
    """Tell how often a head or a draft model guesses right, by depth and kind of text, and how fast MODEL is with it.

    Every prompt is answered plainly, with it at a fixed depth, with copies alone, and as `outpace run` would,
    in turns; all texts must be the same.
    """
    from outpace.cli.progress import Meter
    from outpace.graft.measure import measure as ask
    from outpace.graft.prompts import held_out, read_prompts
    from outpace.graft.writer import Writer

    asked = held_out() if prompts is None else {prompts.stem: read_prompts(prompts)}
    with Meter() as meter:
        writer = Writer(
            file, depth=depth, kind=kind, draft_model=draft_model, progress=meter, context=ctx_size, threads=threads
        )
    with writer, Meter("answers") as meter:
        found = ask(
            writer,
            asked,
            n=predict,
            temperature=temp,
            seed=seed,
            repeat=repeat,
            progress=lambda done, total: meter("answering", done, total),
        )
    show(found)
    if as_json:
        typer.echo(json.dumps(found.as_json()))
    if not found.is_same_text:
        raise typer.Exit(1)


def show(found: Measured) -> None:
    """Print what was measured as two tables, acceptance and speed."""
    from outpace.graft.writer import SPECULATED

    parts = dict(found.kinds) | ({"all": found.all} if len(found.kinds) > 1 else {})
    typer.echo(f"share of rounds that kept the guesses up to each depth, {found.depth} drafted a round")
    depths = [f"depth {i + 1}" for i in range(found.depth)]
    given = [f"{i + 2} given {i + 1}" for i in range(found.depth - 1)]
    table = [["text", "prompts", "rounds", *depths, *given, "tokens a round"]]
    for kind, part in parts.items():
        of = part.acceptance
        shares = [
            f"{share:.2f}" if n else ""
            for share, n in [*zip(of.by_depth, of.drafted, strict=True), *zip(of.conditional, of.reached, strict=True)]
        ]
        del shares[found.depth]  # at depth 1 there is nothing before it
        table.append([kind, str(part.prompts), str(of.rounds), *shares, f"{of.tokens_per_round:.2f}"])
    columns.show(table)
    typer.echo("\ntokens a second; ratios prompt by prompt, with the interval of the middle one")
    drafter = next(way for way in found.all.per_s if way in SPECULATED)
    table = [
        ["text", "plain", f"{drafter} at {found.depth}", "suffix", "auto", "auto/plain", "", "auto is", "auto/suffix"]
    ]
    for kind, part in parts.items():
        rates = [f"{rate:.1f}" for rate in part.per_s.values()]
        table.append([kind, *rates, *_ratios(part)])
    columns.show(table)
    if found.is_same_text:
        typer.echo("every way wrote the same texts")
    else:
        typer.echo(f"THE TEXTS DIFFER for {len(found.different)} prompts, the first: {found.different[0]}")


def _ratios(part: Part) -> list[str]:
    from outpace.spread import direction

    if ("auto", "plain") not in part.ratios:
        return [""] * 4
    plain, suffix = part.ratios["auto", "plain"], part.ratios["auto", "suffix"]
    return [f"{plain.median:.2f}x", f"{plain.low:.2f}-{plain.high:.2f}", direction(plain), f"{suffix.median:.2f}x"]
