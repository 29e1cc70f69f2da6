"""Who drafts best: a table and a picture from what `outpace graft measure --json` printed for one model.

`python -m tools.drafters MTP.json MEDUSA.json DRAFT.json --plot docs/explain/drafters.png`, of heads and draft models.
Every file has its own plain and copied runs, so each speed stands over the plain one of the same file; those of copying
are the first file's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from outpace.gguf.heads import NAMES as HEADS

# What the table calls those who draft at a fixed depth, by the names of `graft measure`.
NAMES = {**HEADS, "draft": "draft model"}


class Row(NamedTuple):
    """One way of drafting.

    Attributes:
        name: What the table calls it.
        kept: Share of rounds in which all guesses up to a depth were kept, by depth; empty where no depth was fixed.
        tokens_per_round: Tokens written for each round at the fixed depth; None likewise.
        times_plain: Speed over plain decoding, by kind of text.
    """

    name: str
    kept: Sequence[float]
    tokens_per_round: float | None
    times_plain: dict[str, float]


def rows(measured: Sequence[dict[str, Any]]) -> list[Row]:
    """Return copying, then of each file its head alone and what `outpace run` does with it."""
    found = [Row("copies alone", (), None, _times(measured[0], "suffix"))]
    for each in measured:
        head = next(head for head in NAMES if f"{head}_per_s" in each["all"])
        depths, per_round = each["all"]["acceptance_by_depth"], each["all"]["tokens_per_round"]
        name = f"{NAMES[head]}, {each['depth']} guesses every round"
        found.append(Row(name, depths, per_round, _times(each, head)))
        found.append(Row(f"`outpace run` with the {NAMES[head]}", (), None, _times(each, "auto")))
    return found


def table(found: Sequence[Row]) -> str:
    """Return the rows in Markdown."""
    n_depths = max(len(row.kept) for row in found)
    kinds = list(found[0].times_plain)
    titles = ["", *(f"depth {i + 1}" for i in range(n_depths)), "tokens a round", *(f"{kind}" for kind in kinds)]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in found:
        cells = [f"{share:.2f}" for share in row.kept] or [""] * n_depths
        cells.append("" if row.tokens_per_round is None else f"{row.tokens_per_round:.2f}")
        lines.append("| " + " | ".join([row.name, *cells, *(f"{row.times_plain[kind]:.2f}" for kind in kinds)]) + " |")
    return "\n".join(lines)


def draw(found: Sequence[Row], path: Path) -> None:
    """Draw the speeds as bars (PNG)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    kinds, width = list(found[0].times_plain), 0.8 / len(found)
    for i, row in enumerate(found):
        at = [k + (i - (len(found) - 1) / 2) * width for k in range(len(kinds))]
        axes.bar(at, list(row.times_plain.values()), width * 0.95, label=row.name.replace("`", ""))
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(kinds)), kinds)
    axes.set_ylabel("speed over plain decoding")
    figure.legend(fontsize=8, loc="outside lower center", ncols=2)
    figure.savefig(path, format="png")


def _times(measured: dict[str, Any], way: str) -> dict[str, float]:
    parts = {**measured["kinds"], "all": measured["all"]}
    return {kind: part[f"{way}_per_s"] / part["plain_per_s"] for kind, part in parts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", type=Path, nargs="+", help="what `outpace graft measure --json` printed")
    parser.add_argument("--plot", type=Path, help="where to draw it; needs matplotlib")
    args = parser.parse_args()
    found = rows([json.loads(path.read_text().splitlines()[-1]) for path in args.measured])
    print(table(found))
    if args.plot:
        draw(found, args.plot)


if __name__ == "__main__":
    main()
