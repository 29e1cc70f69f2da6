"""`outpace bench`: steps by width, decoding with and without drafting, reading prompts."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outpace.cli import columns
from outpace.cli import options as o
from outpace.config import MOST_DRAFTED, RunConfig
from outpace.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from outpace.cli.decoding import Sample
    from outpace.cli.imposed import Coins

app = typer.Typer(help="Measure steps, decoding and prompts on this machine.", no_args_is_help=True)

# What decoding is measured on where no prompt is given: the answer repeats part of the question.
PROMPT = """Add a docstring to this function and change nothing else:

def total_price(items, tax_rate):
    subtotal = 0
    for item in items:
        subtotal += item.price * item.quantity
    return subtotal * (1 + tax_rate)
"""

Repeat = Annotated[int, typer.Option("-r", "--repeat", metavar="R", min=1, help="Times each thing is measured.")]
Depth = Annotated[
    int, typer.Option("-d", "--depth", metavar="N", min=0, help="Positions that are in the cache already.")
]
Fixed = Annotated[
    str | None,
    typer.Option(
        "--fixed",
        metavar="LIST",
        rich_help_panel=o.DRAFTING,
        help="Depths to time too, as in 1,3: so many tokens are drafted each round, paying or not.",
    ),
]
SynthAccept = Annotated[
    float | None,
    typer.Option(
        "--spec-synth-accept",
        metavar="P",
        rich_help_panel=o.DRAFTING,
        help="Keep each drafted token with this chance, given that those before it are kept.",
    ),
]
SynthRates = Annotated[
    str | None,
    typer.Option(
        "--spec-synth-rates",
        metavar="P0,P1,...",
        rich_help_panel=o.DRAFTING,
        help="Keep the token at each depth with this chance in all; nothing beyond the last.",
    ),
]
SynthLength = Annotated[
    float | None,
    typer.Option(
        "--spec-synth-len",
        metavar="L",
        rich_help_panel=o.DRAFTING,
        help="Keep drafted tokens with the chance that gives rounds of L tokens at --spec-draft-n-max.",
    ),
]


@app.command()
def width(
    model: o.Model,
    widths: Annotated[str, typer.Option("--widths", metavar="LIST", help="Rows of a step.")] = "1,2,4,8,16",
    depth: Depth = 0,
    repeat: Repeat = 20,
    kv_type: o.KVType = RunConfig.kv_type,
    threads: o.Threads = None,
    draft_model: o.HeadFile = None,
    spec_type: o.SpecType = RunConfig.spec_type,
    as_json: o.Json = False,
) -> None:
    """Time steps of several widths, interleaved: what verifying a draft costs.

    Of a file with MTP layers also whole rounds: drafting one token less than the width, then verifying.
    """
    rows = _widths(widths)
    config = RunConfig(kv_type=kv_type, spec_type=spec_type)
    path = _find(model)
    head = None if draft_model is None else _find(draft_model)

    from outpace.cli import machine
    from outpace.cli.measure import Subject, interleaved, spread
    from outpace.cli.progress import Meter
    from outpace.cli.rounds import Rounds, positions
    from outpace.engine.resolve import MAX_ROWS
    from outpace.graph.step import PAGE

    most = max(rows)
    # Depths of rounds; plain decoding comes first.
    drafted = [0, *sorted(n - 1 for n in rows if 1 < n <= MOST_DRAFTED + 1)]
    if config.spec_type not in ("auto", "mtp", "suffix+mtp"):
        drafted = [0]
    n_prompt = max(depth, 1)
    room = positions(drafted, repeat)
    with (
        Meter() as meter,
        Subject(
            path,
            positions=max(depth + most, n_prompt + room),
            max_rows=max(most, PAGE, min(n_prompt, MAX_ROWS)),
            max_wanted=most,
            threads=threads,
            kv_type=kv_type,
            max_draft=drafted[-1],
            head=head,
            progress=lambda done, total: meter("loading", done, total),
        ) as subject,
    ):
        meter.close()
        probe = machine.Probe(subject.tier, subject.threads)
        timers = [lambda n=n: subject.time(n, depth) for n in rows]
        taken = interleaved([*timers, probe.bandwidth], repeat)
        found = _width_numbers(rows, taken, subject.step_bytes)
        found["rounds"] = Rounds(subject, n_prompt, room).numbers(drafted, repeat) if subject.executable.draft else {}
        card = machine.card(path, subject.tier, subject.threads, found["bandwidth_gbps"] * 1e9)
    table = [["width", "ms", "spread", "of width 1", "tokens/s"]]
    first = found["widths"][str(rows[0])]
    for n, times in zip(rows, taken, strict=False):
        ms = found["widths"][str(n)]
        table.append([str(n), f"{ms:.3f}", f"{spread(times):.0%}", f"{ms / first:.2f}x", f"{1e3 * n / ms:.1f}"])
    _show(table, card)
    share = found["weights_gbps"] / found["bandwidth_gbps"]
    typer.echo(
        f"a step of width {rows[0]} reads weights at {found['weights_gbps']:.1f} GB/s, {share:.0%} of the "
        f"{found['bandwidth_gbps']:.1f} GB/s measured in between (best {max(taken[-1]) / 1e9:.1f})"
    )
    if found["rounds"]:
        typer.echo("\nrounds of drafting, all kept; times in ms")
        columns.show(_round_rows(found["rounds"]))
    if as_json:
        typer.echo(json.dumps(found | {"depth": depth, "machine": card}))


def _round_rows(rounds: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    table = [["drafted", "round", "verify", "head", "catch-up", "Python", "nothing kept", "of plain", "pays from"]]
    parts = ("ms", "verify_ms", "head_ms", "catch_up_ms", "python_ms", "rejected_ms")
    for n, found in rounds.items():
        pays = "" if n == "0" else "never" if found["pays_from"] is None else f"{found['pays_from']:.0%} right"
        table.append([n, *(f"{found[part]:.3f}" for part in parts), f"{found['of_plain']:.2f}x", pays])
    return table


def _width_numbers(rows: list[int], taken: list[list[float]], step_bytes: int) -> dict[str, Any]:
    medians = [statistics.median(times) for times in taken]
    return {
        "widths": {str(n): round(1e3 * seconds, 4) for n, seconds in zip(rows, medians, strict=False)},
        "weights_gbps": round(step_bytes / medians[0] / 1e9, 2),
        "bandwidth_gbps": round(medians[-1] / 1e9, 2),
    }


@app.command()
def prefill(
    model: o.Model,
    prompt: Annotated[int, typer.Option("-p", "--n-prompt", metavar="N", min=1, help="Tokens of the prompt.")] = 512,
    depth: Depth = 0,
    repeat: Repeat = 5,
    kv_type: o.KVType = RunConfig.kv_type,
    threads: o.Threads = None,
    as_json: o.Json = False,
) -> None:
    """Time reading a prompt of random tokens."""
    path = _find(model)

    from outpace.cli import machine
    from outpace.cli.measure import Subject, interleaved, spread
    from outpace.cli.progress import Meter
    from outpace.engine.resolve import MAX_ROWS

    RunConfig(kv_type=kv_type)
    chunks = [(start, min(MAX_ROWS, prompt - start)) for start in range(0, prompt, MAX_ROWS)]
    with (
        Meter() as meter,
        Subject(
            path,
            positions=depth + prompt,
            max_rows=min(prompt, MAX_ROWS),
            max_wanted=1,
            threads=threads,
            kv_type=kv_type,
            progress=lambda done, total: meter("loading", done, total),
        ) as subject,
    ):
        meter.close()

        def read() -> float:
            # Only the last row of a prompt is wanted.
            ends = [start + n == prompt for start, n in chunks]
            return sum(
                subject.time(n, depth + start, [n - 1] if is_last else [])
                for (start, n), is_last in zip(chunks, ends, strict=True)
            )

        (times,) = interleaved([read], repeat)
        probe = machine.Probe(subject.tier, subject.threads)
        card = machine.card(path, subject.tier, subject.threads, probe.best_bandwidth())
    seconds = statistics.median(times)
    found = {"prompt_n": prompt, "depth": depth, "prompt_per_s": round(prompt / seconds, 2), "seconds": seconds}
    row = [str(prompt), f"{seconds:.4f}", f"{spread(times):.0%}", f"{prompt / seconds:.1f}"]
    _show([["tokens", "s", "spread", "tokens/s"], row], card)
    if as_json:
        typer.echo(json.dumps(found | {"machine": card}))


@app.command()
def decode(
    model: o.Model,
    prompt: Annotated[
        str, typer.Option("-p", "--prompt", metavar="TEXT", help="A message of the user.", show_default=False)
    ] = PROMPT,
    predict: Annotated[int, typer.Option("-n", "--predict", metavar="N", min=2, help="Tokens to write.")] = 128,
    repeat: Repeat = 5,
    ctx_size: o.Context = None,
    kv_type: o.KVType = RunConfig.kv_type,
    threads: o.Threads = None,
    draft_model: o.DraftModel = None,
    spec_type: o.SpecType = RunConfig.spec_type,
    spec_draft_n_max: o.SpecMost = RunConfig.spec_draft_n_max,
    spec_draft_n_min: o.SpecLeast = RunConfig.spec_draft_n_min,
    spec_draft_p_min: o.SpecChance = RunConfig.spec_draft_p_min,
    fixed: Fixed = None,
    spec_synth_accept: SynthAccept = None,
    spec_synth_rates: SynthRates = None,
    spec_synth_len: SynthLength = None,
    temp: o.Temperature = 0.0,
    seed: o.Seed = 0,
    as_json: o.Json = False,
) -> None:
    """Time an answer without and with drafting, interleaved, and compare the texts.

    With --spec-synth-accept, --spec-synth-rates or --spec-synth-len all of the work is done, but how much of a draft is
    kept is imposed: how fast would this be with a head of that quality? The texts are then not the model's.
    """
    from outpace.cli.imposed import Coins

    depths = [] if fixed is None else o.whole_numbers(fixed, "--fixed", "depths with commas between them, as in 1,3")
    coins = Coins.of(spec_synth_accept, spec_synth_rates, spec_synth_len, spec_draft_n_max, seed)

    from outpace.cli import machine
    from outpace.cli.decoding import Subjects, numbers
    from outpace.cli.progress import Meter
    from outpace.sampling.params import SamplingParams

    with Meter() as meter:
        subjects = Subjects(
            model,
            meter,
            draft_model=draft_model,
            context=ctx_size,
            kv_type=kv_type,
            threads=threads,
            spec_type=spec_type,
            spec_draft_n_max=spec_draft_n_max,
            spec_draft_n_min=spec_draft_n_min,
            spec_draft_p_min=spec_draft_p_min,
        )
    llm = subjects.llm
    request: dict[str, Any] = {
        "messages": [{"role": "user", "content": prompt}],
        "params": SamplingParams(temperature=temp, seed=seed),
        "max_tokens": predict,
        "ignore_eos": True,
    }
    drafter = llm.settings.drafter
    if coins is not None and spec_type == "auto" and drafter.endswith("mtp"):
        # The quality of the head is what is asked about, and not what copies would be worth in a made-up text.
        drafter = "mtp"
    subjects.imposed(coins)
    samples = subjects.interleaved(subjects.arms(drafter, depths), repeat, **request)
    tier, n_threads = machine.tier(), llm.settings.threads
    card = machine.card(llm.path, tier, n_threads, machine.Probe(tier, n_threads).best_bandwidth())
    found = {name: numbers(taken, samples["none"]) for name, taken in samples.items()}
    table = [["drafter", "tokens/s", "of plain", "", "tokens per round", "Python's share"]]
    for name, each in found.items():
        ratio, per_round = each["of_plain"], f"{each['tokens_per_round']:.2f}"
        between = f"{ratio['low']:.2f}-{ratio['high']:.2f}" if name != "none" else ""
        speed, share = f"{each['predicted_per_s']:.1f}", f"{each['python_share']:.1%}"
        table.append([name, speed, f"{ratio['median']:.2f}x", between, per_round, share])
    _show(table, card)
    is_same = _compare(samples, coins)
    if as_json:
        imposed = None if coins is None else {"chances": list(coins.chances), "rest": round(coins.rest, 6)}
        typer.echo(json.dumps({"drafters": found, "identical": is_same, "imposed": imposed, "machine": card}))
    if is_same is False:
        raise typer.Exit(1)


def _compare(samples: Mapping[str, Sequence[Sample]], coins: Coins | None) -> bool | None:
    """Say whether all texts are the same; None where they are not meant to be."""
    if coins is not None:
        typer.echo("acceptance is imposed: the texts are not the model's and are not compared")
        return None
    texts = {tuple(sample.result.tokens) for taken in samples.values() for sample in taken}
    typer.echo("identical texts" if len(texts) == 1 else "THE TEXTS DIFFER")
    return len(texts) == 1


def _widths(text: str) -> list[int]:
    """Return the widths that were asked for.

    Raises:
        ConfigError: They are not whole numbers from 1 to 512 with commas between them, each once.
    """
    rows = o.whole_numbers(text, "--widths", "whole numbers with commas between them, as in 1,4,8")
    if not all(1 <= n <= 512 for n in rows) or len(set(rows)) != len(rows):
        raise ConfigError("--widths", text, "numbers from 1 to 512, each once")
    return rows


def _find(model: str) -> Path:
    from outpace import hub
    from outpace.cli.progress import Meter

    with Meter() as meter:
        return hub.resolve(model, progress=meter)


def _show(table: list[list[str]], card: dict[str, Any]) -> None:
    """Print a machine card and a table whose first row are headings."""
    commit = f", commit {card['commit']}" if card["commit"] else ""
    typer.echo(
        f"{card['cpu']}, {card['tier']}, {card['threads']} threads, {card['bandwidth_gbps']} GB/s{commit}; "
        f"{card['file']} ({card['file_bytes'] / 1e6:.1f} MB, {card['file_sha256_1m']})"
    )
    columns.show(table)
