"""Steps and prefills, ours and the peer's in turns on the same files, against what is asked of them.

`python -m bench.speed FILE... [--peer DIR] [--rounds R]`. Every measurement is a process of its own, ours as well as
the peer's, so that neither holds memory or threads while the other runs. Ratios are taken round by round.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import harness, peer
from bench.harness import say, table
from bench.peer import Peer
from outpace import hub
from outpace.spread import Spread, ratios, verdict


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked on a file: at least so many times the peer's speed, by width and for a prefill of 512 tokens."""

    widths: dict[int, float]
    prefill: float


ONE_BILLION = Target({1: 1.0, 4: 1.9, 8: 2.2}, 1.2)
TARGETS = {"Q8_0": Target({1: 1.0, 4: 1.7, 8: 2.2}, 1.2), "SmolLM2": Target({1: 1.6, 4: 2.5}, 2.0)}

# Of all files of the first kind: most that a step of 4 or 8 rows may take of a step of one, least share of bandwidth.
STEP_RATIOS = {4: 1.4, 8: 2.2}
BANDWIDTH_SHARE = 0.9

# Length of the prompt that the targets are for.
PREFILL = 512


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison: what, the ratio found, what is asked (None for nothing), and the verdict."""

    what: str
    ratio: Spread
    asked: str
    verdict: str

    def as_row(self) -> list[str]:
        """Return it for the table."""
        r = self.ratio
        return [self.what, f"{r.median:.2f}", f"{r.low:.2f} - {r.high:.2f}", self.asked, self.verdict]


def line(what: str, found: Spread, threshold: float | None = None, *, at_most: bool = False) -> Line:
    """Judge a ratio."""
    if threshold is None:
        return Line(what, found, "", "")
    return Line(
        what, found, f"{'at most' if at_most else 'at least'} {threshold:g}", verdict(found, threshold, at_most=at_most)
    )


def target_of(path: Path) -> Target:
    """Return what is asked on a file, by its name."""
    return next((target for part, target in TARGETS.items() if part.lower() in path.name.lower()), ONE_BILLION)


def measure(path: Path, args: argparse.Namespace, other: Peer | None) -> dict[str, list[dict[str, Any]]]:
    """Run ours and the peer's in turns; each run is reduced to its medians."""
    widths = [int(width) for width in args.widths.split(",")]

    def ours() -> dict[str, Any]:
        found = harness.child(
            "bench.ours", path, "--json",
            *("--widths", args.widths, "--prefill", args.prefill, "--repeats", args.repeats),
            *("--prefill-repeats", args.prefill_repeats, "--threads", args.threads),
            *(("--tier", args.tier) if args.tier else ()),
        )  # fmt: skip
        shares = [
            found["file_bytes"] / 1e9 / s / g for s, g in zip(found["step_s"]["1"], found["read_gbps"], strict=True)
        ]
        return {
            **{f"step {w}": statistics.median(values) for w, values in found["step_s"].items()},
            **{f"verify {w}": statistics.median(values) for w, values in found["verify_s"].items()},
            "prefill": statistics.median(found["prefill_s"]) if found["prefill_s"] else 0.0,
            "share": statistics.median(shares),
            "raw": found,
        }

    def theirs() -> dict[str, Any]:
        assert other is not None
        steps = other.steps(path, widths, args.repeats)
        prefill = other.prefill(path, args.prefill, args.prefill_repeats) if args.prefill else []
        return {
            **{f"step {w}": statistics.median(values) for w, values in steps.items()},
            "prefill": statistics.median(prefill) if prefill else 0.0,
            "raw": {"steps_s": steps, "prefill_s": prefill},
        }

    return harness.interleave(
        {"ours": ours} | ({"peer": theirs} if other else {}), args.rounds, lambda t: say(f"  {t}")
    )


def judge(path: Path, runs: dict[str, list[dict[str, Any]]], widths: list[int], prefill: int) -> list[Line]:
    """Return the comparisons of one file."""
    target, ours, theirs = target_of(path), runs["ours"], runs.get("peer")

    def column(of: list[dict[str, Any]], key: str) -> list[float]:
        return [run[key] for run in of]

    is_small = target is TARGETS["SmolLM2"]
    share = Spread.of(column(ours, "share"))
    lines = [line("share of read bandwidth, width 1", share, None if is_small else BANDWIDTH_SHARE)]
    for width in (w for w in widths if w > 1):
        found = ratios(column(ours, f"verify {width}"), column(ours, "step 1"))
        most = None if is_small else STEP_RATIOS.get(width)
        lines.append(line(f"step({width}) / step(1), all logits", found, most, at_most=True))
    if theirs:
        for width in widths:
            found = ratios(column(theirs, f"step {width}"), column(ours, f"step {width}"))
            lines.append(line(f"times the peer's speed, width {width}", found, target.widths.get(width)))
        if prefill:
            found = ratios(column(theirs, "prefill"), column(ours, "prefill"))
            # The issue asks for prompts of 512 tokens.
            lines.append(
                line(f"times the peer's speed, prefill {prefill}", found, target.prefill if prefill == 512 else None)
            )
    return lines


def times(runs: dict[str, list[dict[str, Any]]], widths: list[int], prefill: int) -> str:
    """Return the times that the ratios come from."""
    rows = []
    for name, found in runs.items():
        kinds = ("step", "verify") if name == "ours" else ("step",)
        for kind in kinds:
            cells = []
            for w in widths:
                values = [run[f"{kind} {w}"] * 1e3 for run in found if f"{kind} {w}" in run]
                cells.append(f"{Spread.of(values).median:.2f}" if values else "")
            speed = f"{Spread.of([prefill / run['prefill'] for run in found]).median:.0f}" if prefill else ""
            rows.append(
                [
                    f"{name}, {'last logits' if kind == 'step' else 'all logits'}",
                    *cells,
                    speed if kind == "step" else "",
                ]
            )
    return table(rows, ["ms a step of width", *map(str, widths), "prefill tok/s"])


def run_file(path: Path, args: argparse.Namespace, other: Peer | None) -> dict[str, Any]:
    """Measure and print one file; return its part of the result."""
    say(path.name)
    widths = [int(width) for width in args.widths.split(",")]
    runs = measure(path, args, other)
    raw = runs["ours"][0]["raw"]
    gbps = statistics.median(g for run in runs["ours"] for g in run["raw"]["read_gbps"])
    card = harness.card(path, tier=raw["tier"], threads=raw["threads"], gbps=gbps)
    lines = judge(path, runs, widths, args.prefill)
    print(f"\n{path.name}: {', '.join(f'{k} {v}' for k, v in card.items())}")
    if other:
        print(f"peer: {other.describe()}")
    print(times(runs, widths, args.prefill))
    print(
        table(
            [each.as_row() for each in lines], ["", "median", f"interval of {args.rounds} rounds", "asked", "verdict"]
        )
    )
    ratio = {each.what: each.ratio.as_json() | {"asked": each.asked, "verdict": each.verdict} for each in lines}
    return {"card": card, "ratios": ratio, "runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    peer.add_option(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--widths", default="1,2,4,8")
    parser.add_argument("--prefill", type=int, default=PREFILL)
    parser.add_argument("--repeats", type=int, default=10, help="values for each width in a round")
    parser.add_argument("--prefill-repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0, help="for both; all CPUs unless said")
    parser.add_argument("--tier")
    args = parser.parse_args()
    args.threads = args.threads or harness.cpus()
    other = peer.chosen(args.peer, args.threads)
    found = {}
    for name in args.files:
        # The peer reads no head, and a step has none.
        path = hub.resolve(name, is_bare=True)
        found[path.name] = run_file(path, args, other)
    summary = {name: {key: part[key] for key in ("card", "ratios")} for name, part in found.items()}
    about = {"peer": other.describe() if other else None, "rounds": args.rounds}
    harness.finish("speed", about | {"files": summary}, {"runs": {name: part["runs"] for name, part in found.items()}})


if __name__ == "__main__":
    main()
