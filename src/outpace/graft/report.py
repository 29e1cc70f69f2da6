"""What a head is worth before and after training: measured with the engine, judged, and written down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from outpace.convert.write import Progress
from outpace.graft import plot
from outpace.graft.measure import Measured, measure
from outpace.graft.prompts import held_out
from outpace.graft.trainer import Curve
from outpace.graft.work import whole_file
from outpace.graft.writer import Writer
from outpace.spread import direction

# Tokens of each answer.
ANSWER = 128


@dataclass(frozen=True)
class Report:
    """A head on prompts that it was not trained on.

    Attributes:
        before: What training began from: its acceptance alone.
        after: What came of it, with speeds.
    """

    before: Measured
    after: Measured

    @property
    def refusal(self) -> str:
        """Why nobody should have this head: other texts, or what it makes slower here; empty if there is no reason."""
        different = self.after.different
        if different:
            return (
                f"with this head the model answers {len(different)} prompts otherwise, the first: {different[0]!r:.80}"
            )
        found = []
        for (way, other), ratio in self.after.all.ratios.items():
            if way == "auto" and direction(ratio) == "slower":
                without = "without drafting" if other == "plain" else "with copies alone"
                found.append(
                    f"with this head the model writes {ratio.median:.2f} times as fast as {without} "
                    f"({ratio.low:.2f} to {ratio.high:.2f})"
                )
        return "; ".join(found)


def judged(
    trunk: Path,
    before: Path,
    after: Path,
    prompts: Mapping[str, Sequence[str]] | None,
    depth: int,
    threads: int | None,
    progress: Progress,
    kind: str = "mtp",
) -> Report:
    """Measure the head that training began from, and the one that came of it.

    Args:
        trunk: The model without a head.
        before: The one head.
        after: The other.
        prompts: What to ask, by kind of text; those that are shipped where it is None.
        depth: Guesses in a row.
        threads: Threads that compute.
        progress: Told what is done.
        kind: Of the head, of `gguf.heads.KINDS`.
    """

    def measured(head: Path, what: str, *, has_speeds: bool) -> Measured:
        with Writer(trunk, draft_model=head, depth=depth, kind=kind, threads=threads) as writer:
            ways = writer.ways if has_speeds else (writer.kind,)
            return measure(
                writer, prompts or held_out(), n=ANSWER, ways=ways, progress=lambda done, n: progress(what, done, n)
            )

    first = measured(before, "measuring before", has_speeds=False)
    return Report(first, measured(after, "measuring after", has_speeds=True))


def write(found: Report, curve: Curve, settings: Mapping[str, Any], out: Path) -> tuple[str, ...]:
    """Write the report beside a file: JSON, a table, and a picture of the curve; return what was not done, and why."""
    beside = {end: out.with_name(out.name + end) for end in (".report.json", ".report.md", ".curve.png")}
    content = {
        "settings": {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()},
        "before": found.before.as_json(),
        "after": found.after.as_json(),
        "curve": asdict(curve),
    }
    with whole_file(beside[".report.json"]) as part:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    with whole_file(beside[".report.md"]) as part:
        part.write_text(
            "\n".join([f"# {out.name}", "", *table(found), "", "```", *plot.lines(curve), "```", ""]), encoding="utf-8"
        )
    if not plot.draw(curve, beside[".curve.png"]):
        return (f"{beside['.curve.png']} is not drawn: matplotlib is not installed (pip install 'outpace[graft]')",)
    return ()


def table(found: Report) -> list[str]:
    """Return the report as lines of a table: acceptance before and after, and speed, by kind of text."""
    depths = [f"depth {i + 1}" for i in range(found.after.depth)]
    rows = ["| text | " + " | ".join(depths) + " | tokens a round | auto / plain | auto / suffix |"]
    rows.append("|---" * (len(depths) + 4) + "|")
    parts = {**found.after.kinds, "all": found.after.all}
    for kind, part in parts.items():
        first = found.before.all if kind == "all" else found.before.kinds[kind]
        pairs = zip(first.acceptance.by_depth, part.acceptance.by_depth, strict=True)
        cells = [f"{a:.2f} -> {b:.2f}" for a, b in pairs]
        cells.append(f"{first.acceptance.tokens_per_round:.2f} -> {part.acceptance.tokens_per_round:.2f}")
        for other in ("plain", "suffix"):
            ratio = part.ratios.get(("auto", other))
            cells.append("" if ratio is None else f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})")
        rows.append(f"| {kind} | " + " | ".join(cells) + " |")
    return rows
