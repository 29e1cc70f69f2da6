"""The page about a head that comes with outpace, made from the record that lies beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from outpace.hub.catalogue import Entry, Head

# What a command that makes the head again chooses itself.
OWN = ("base", "out", "head_only", "prompts", "work", "threads", "is_forced")


def record_path(head: Path) -> Path:
    """Return where the record of a head is."""
    return head.with_suffix(".json")


def name_of(head: Head) -> str:
    """Return the file name of a head's page."""
    return f"{Path(head.file).stem}.md"


def options(settings: dict[str, Any]) -> list[str]:
    """Return the options of `outpace graft train` that say what a training's settings were.

    Raises:
        SystemExit: The command has no option for one of them.
    """
    from tools.cli_reference import commands

    known = {param.name: param.opts[0] for param in commands()["graft train"].params}
    found: list[str] = []
    for name, value in settings.items():
        if name in OWN or value is None:
            continue
        if name not in known:
            raise SystemExit(f"`outpace graft train` has no option for the setting {name} ({value!r})")
        found += [known[name], str(value)]
    return found


def page(entry: Entry, head: Head, made: str) -> str:
    """Return the page of an entry's head; `made` is the line that says where it comes from."""
    record: dict[str, Any] = json.loads(record_path(head.path).read_text())
    settings, measured = record["settings"], record["measured"] or record["after"]
    command = " ".join([f"outpace graft train {entry.name} -o model.gguf --head-only head.gguf", *options(settings)])
    parts = [f"# The head of {entry.name}\n\n{made.rstrip()}\n", _what(entry, head, record), _data(settings)]
    parts += [f"## Making it again\n\n```sh\nmake head\n```\n\nruns\n\n```sh\n{command}\n```\n"]
    parts += ["## How often it is right\n\n" + _acceptance(record["before"], measured)]
    if record["measured"]:
        parts.append("## What it is worth\n\n" + _speed(measured))
    return "\n".join(parts)


def _what(entry: Entry, head: Head, record: dict[str, Any]) -> str:
    return (
        f"`{entry.name}` is the model of `{entry.source}` with a multi-token-prediction head that comes with outpace:\n"
        f"one layer made like those of the model, used again for each further token, {record['parameters'] / 1e6:.1f} "
        f"million parameters in {', '.join(record['types'])}.\n"
        "It guesses what comes next; the model checks, so the text is the model's own, to the bit\n"
        "([Drafting](../explain/drafting.md)). Where it guesses badly, it costs time at worst.\n\n"
        "| | |\n|---|---|\n"
        f"| file | `{head.file}`, {head.bytes / 1e6:.2f} MB |\n| SHA-256 | `{head.sha256}` |\n"
        f"| SHA-256 of both joined | `{head.joined_sha256}` |\n"
        f"| licence | {entry.licence}, as the model's |\n"
    )


def _data(settings: dict[str, Any]) -> str:
    return (
        f"**What it learned from.** {settings['tokens']:,} tokens that the model itself wrote, on this engine, in "
        "answer to the prompts that come\nwith `outpace graft train`: half of the answers its likeliest tokens, half "
        "sampled at temperature 0.8. What it was to say at each\nplace is what the rounded model says there. "
        "There was no other text, and none of the prompts below or others of their topics.\n"
    )


def _acceptance(before: dict[str, Any], after: dict[str, Any]) -> str:
    depths = [f"depth {i + 1}" for i in range(after["depth"])]
    rows = ["| text | prompts | " + " | ".join(depths) + " | tokens a round |", "|---" * (after["depth"] + 3) + "|"]
    for kind, first, part in _parts(before, after):
        pairs = zip(first["acceptance_by_depth"], part["acceptance_by_depth"], strict=True)
        cells = [f"{a:.2f} -> {b:.2f}" for a, b in pairs]
        cells.append(f"{first['tokens_per_round']:.2f} -> {part['tokens_per_round']:.2f}")
        rows.append(f"| {kind} | {part['prompts']} | " + " | ".join(cells) + " |")
    same = "All ways of answering wrote the same texts." if after["same_text"] else "THE TEXTS DIFFER."
    return (
        f"Prompts that no head is trained on, answered greedily with {after['depth']} guesses every round whether they "
        "pay or not: the share of rounds\nin which all guesses up to a depth were kept, of what training began from "
        f"(the best linear guess) and of what came of it.\n{same}\n\n" + "\n".join(rows) + "\n"
    )


def _speed(measured: dict[str, Any]) -> str:
    rows = ["| text | plain | this head alone | copies alone | as `outpace run` does | times plain | times copies |"]
    rows.append("|---" * 7 + "|")
    for kind, _, part in _parts(measured, measured):
        rates = [f"{part[f'{way}_per_s']:.1f}" for way in ("plain", "mtp", "suffix", "auto")]
        ratios = []
        for other in ("plain", "suffix"):
            low, high = part[f"auto_over_{other}_interval"]
            ratios.append(f"{part[f'auto_over_{other}']:.2f} ({low:.2f} to {high:.2f})")
        rows.append(f"| {kind} | " + " | ".join(rates + ratios) + " |")
    return (
        "Tokens a second on one machine, and the ratios prompt by prompt with the interval of the middle one, as "
        "`outpace graft measure` tells them.\n\n" + "\n".join(rows) + "\n"
    )


def _parts(before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Return each kind of text with its figures before and after, all together last."""
    kinds = [(kind, before["kinds"][kind], part) for kind, part in after["kinds"].items()]
    return [*kinds, ("all", before["all"], after["all"])]
