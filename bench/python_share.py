"""Python's share of a decode step, plain and with drafting: the time that is not spent in the native program.

Usage: python -m bench.python_share [MODEL] [--steps 200] [--rounds 5] [--temperature T] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
from time import perf_counter

from bench import harness
from bench.harness import table
from bench.tasks.prompts import PROMPTS
from outpace import LLM, hub
from outpace.spread import Spread, verdict

FRESH = "The history of the lighthouse begins with"
REPEATING = next(each.text for each in PROMPTS if each.repeats)
WARM_UP = 8

# Drafter and prompt of each case.
CASES = {"plain": ("none", FRESH), "drafting": ("suffix", FRESH), "drafting, an edit": ("suffix", REPEATING)}


def measure(
    llm: LLM, drafter: str, prompt: str, n_tokens: int, temperature: float, profile: cProfile.Profile | None = None
) -> tuple[int, float, float]:
    """Return the decode steps of an answer, their seconds by the clock, and those inside the native program."""
    program = llm._executable.program  # type: ignore[attr-defined]
    options = {"max_tokens": n_tokens + WARM_UP, "ignore_eos": True, "temperature": temperature, "drafter": drafter}
    n, began, began_native = 0, 0.0, 0.0
    with llm.stream(prompt, **options) as pieces:
        for _ in pieces:
            n += 1
            if n == WARM_UP:
                if profile is not None:
                    profile.enable()
                began, began_native = perf_counter(), program.run_s
        wall, native = perf_counter() - began, program.run_s - began_native
        if profile is not None:
            profile.disable()
    return n - WARM_UP, wall, native


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--steps", type=int, default=200, help="tokens of each answer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--profile", action="store_true", help="also by part; profiling itself slows what it shows")
    args = parser.parse_args()
    path = hub.resolve(args.model)
    shares: dict[str, list[float]] = {name: [] for name in CASES}
    walls: dict[str, list[float]] = {name: [] for name in CASES}
    outside: dict[str, list[float]] = {name: [] for name in CASES}
    with LLM(path, context=1024) as llm:
        for drafter, prompt in CASES.values():
            measure(llm, drafter, prompt, args.steps // 4, args.temperature)
        for _ in range(args.rounds):
            for name, (drafter, prompt) in CASES.items():
                n, wall, native = measure(llm, drafter, prompt, args.steps, args.temperature)
                shares[name].append(1 - native / wall)
                walls[name].append(wall / n * 1e3)
                outside[name].append((wall - native) / n * 1e6)
        if args.profile:
            profile = cProfile.Profile()
            measure(llm, *CASES["drafting"], args.steps, args.temperature, profile)
            pstats.Stats(profile).sort_stats("tottime").print_stats(20)
        threads = llm.settings.threads
    rows, result = [], {}
    for name in CASES:
        share, wall, gap = Spread.of(shares[name]), Spread.of(walls[name]), Spread.of(outside[name])
        met = verdict(share, 0.03, at_most=True)
        interval = f"{share.low:.2%} - {share.high:.2%}"
        rows.append([name, f"{wall.median:.3f}", f"{gap.median:.0f}", f"{share.median:.2%}", interval, met])
        result[name] = {"share": share.as_json(), "step_ms": wall.as_json(), "outside_us": gap.as_json(), "met": met}
    print(table(rows, [f"{args.rounds} x {args.steps} tokens", "step, ms", "outside, us", "share", "", "at most 3%"]))
    harness.finish("python_share", {"card": harness.card(path, threads=threads)} | result)


if __name__ == "__main__":
    main()
