"""Python's share of a plain decode step: the time that is not spent in the native program.

Usage: python -m bench.python_share [MODEL] [--steps 200] [--temperature T] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
from time import perf_counter

from bench import harness
from bench.harness import Spread, table
from outpace import LLM, hub

PROMPT = "The history of the lighthouse begins with"
WARM_UP = 8


def measure(
    llm: LLM, n_steps: int, temperature: float, profile: cProfile.Profile | None = None
) -> dict[str, list[float]]:
    """Return for each decode step its seconds by the clock, and those inside the native program."""
    program = llm._executable.program  # type: ignore[attr-defined]
    found: dict[str, list[float]] = {"wall": [], "native": []}
    options = {"max_tokens": n_steps + WARM_UP, "ignore_eos": True, "temperature": temperature}
    with llm.stream(PROMPT, **options) as pieces:
        before = perf_counter()
        for i, _ in enumerate(pieces):
            if i == WARM_UP and profile is not None:
                profile.enable()
            now = perf_counter()
            if i >= WARM_UP:
                found["wall"].append(now - before)
                found["native"].append(program.last_run_s)
            before = now
        if profile is not None:
            profile.disable()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--profile", action="store_true", help="also by part; profiling itself slows what it shows")
    args = parser.parse_args()
    path = hub.resolve(args.model)
    shares, walls, outside = [], [], []
    with LLM(path, spec_type="none", context=1024) as llm:
        for _ in range(args.rounds):
            found = measure(llm, args.steps, args.temperature)
            shares.append(1 - sum(found["native"]) / sum(found["wall"]))
            walls.append(Spread.of(found["wall"]).median * 1e3)
            outside.append(Spread.of([w - n for w, n in zip(found["wall"], found["native"], strict=True)]).median * 1e6)
        if args.profile:
            profile = cProfile.Profile()
            measure(llm, args.steps, args.temperature, profile)
            pstats.Stats(profile).sort_stats("tottime").print_stats(20)
        threads = llm.settings.threads
    share, wall, gap = Spread.of(shares), Spread.of(walls), Spread.of(outside)
    met = harness.verdict(share, 0.03, at_most=True)
    rows = [
        ["step, ms", f"{wall.median:.3f}", f"{wall.low:.3f} - {wall.high:.3f}", ""],
        ["outside the native program, us", f"{gap.median:.1f}", f"{gap.low:.1f} - {gap.high:.1f}", ""],
        ["share outside it", f"{share.median:.2%}", f"{share.low:.2%} - {share.high:.2%}", f"at most 3%: {met}"],
    ]
    print(table(rows, [f"{args.rounds} x {args.steps} steps", "median", "interval", ""]))
    result = {"card": harness.card(path, threads=threads), "share": share.as_json(), "verdict": met}
    harness.finish("python_share", result | {"step_ms": wall.as_json(), "outside_us": gap.as_json()})


if __name__ == "__main__":
    main()
