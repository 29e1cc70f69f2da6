"""Drafting with a file's own head and acceptance imposed, plain, automatic and to fixed depths, beside the peer's.

`python -m bench.drafted FILE [--accept 0.72] [--most 3] [--fixed 1,2,3] [--peer DIR] [--rounds R]`. Both do all of the
work; of each drafted token a coin decides whether it counts as right (our `--spec-synth-accept`, the
peer's `--spec-synth-rates`), so that random weights show what a head of that quality would be worth. Every arm runs
once a round, on a prompt that none has seen before; ours toss the same coins in a round, and others in the next.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np

from bench import harness, peer
from bench.harness import say, table
from bench.peer_server import Server
from outpace.cli.decoding import Arm, Subjects
from outpace.cli.imposed import Coins
from outpace.sampling.params import SamplingParams
from outpace.spread import LEAST_ROUNDS, Spread, ratios, verdict

THEIRS = "the peer, drafting"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer that was timed.

    Attributes:
        tokens_per_s: Of its decoding.
        wall_s: Of all, the prompt included.
        tokens_per_round: Where it is known.
    """

    tokens_per_s: float
    wall_s: float
    tokens_per_round: float = 0.0


def arms(
    subjects: Subjects, accept: float, depths: list[int], server: Server | None, n: int
) -> dict[str, Callable[[list[int]], Answer]]:
    """Return the ways of answering, by name: each takes a prompt."""

    def ours(arm: Arm) -> Callable[[list[int]], Answer]:
        seeds = itertools.count()

        def answer(prompt: list[int]) -> Answer:
            subjects.imposed(Coins((), accept, next(seeds)))
            began = perf_counter()
            sample = subjects.answer(
                arm, prompt_tokens=prompt, params=SamplingParams.greedy(), max_tokens=n, ignore_eos=True
            )
            wall_s, result = perf_counter() - began, sample.result
            return Answer(result.timings.predicted_per_s, wall_s, result.speculation.tokens_per_round)

        return answer

    def theirs(prompt: list[int]) -> Answer:
        assert server is not None
        began = perf_counter()
        timings = server.time(prompt, n)
        return Answer(timings["predicted_per_second"], perf_counter() - began)

    found = {arm.name: ours(arm) for arm in subjects.arms("mtp", depths)}
    return found | ({THEIRS: theirs} if server else {})


def judge(found: dict[str, list[Answer]], args: argparse.Namespace) -> list[list[str]]:
    """Return the comparisons, a line each."""

    def rates(name: str) -> list[float]:
        return [each.tokens_per_s for each in found[name]]

    def row(what: str, spread: Spread, asked: float | None) -> list[str]:
        between = f"{spread.low:.2f} - {spread.high:.2f}"
        return [
            what, f"{spread.median:.3f}", between,
            *((f"at least {asked:g}", verdict(spread, asked)) if asked else ("", "")),
        ]  # fmt: skip

    lines = [row("automatic / plain", ratios(rates("mtp"), rates("none")), args.asked)]
    fixed = [name for name in found if name.startswith("mtp ")]
    lines += [row(f"{name} / plain", ratios(rates(name), rates("none")), None) for name in fixed]
    lines += [row(f"automatic / {name}", ratios(rates("mtp"), rates(name)), 0.97) for name in fixed]
    if THEIRS in found:
        lines.append(row("automatic / the peer", ratios(rates("mtp"), rates(THEIRS)), None))
        walls = {name: [each.wall_s for each in found[name]] for name in ("mtp", THEIRS)}
        lines.append(row("sooner than the peer, prompt and all", ratios(walls[THEIRS], walls["mtp"]), 2.0))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a path or a name that `outpace pull` knows; its file must have a head")
    peer.add_option(parser)
    parser.add_argument("--accept", type=float, default=0.72)
    parser.add_argument("--most", type=int, default=3, help="tokens drafted in a round, by both")
    parser.add_argument("--fixed", default="", help="our fixed depths, with commas between them")
    parser.add_argument("--asked", type=float, help="what automatic drafting should reach, in times plain decoding")
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("-n", type=int, default=128, help="tokens of an answer")
    parser.add_argument("--rounds", type=int, default=LEAST_ROUNDS)
    parser.add_argument("--threads", type=int, default=0, help="for both; all CPUs unless said")
    args = parser.parse_args()
    threads = args.threads or harness.cpus()
    context = args.prompt + args.n + 64
    random = np.random.default_rng(0)
    with ExitStack() as stack:
        subjects = Subjects(
            args.model, lambda *_: None, context=context, threads=threads, spec_type="mtp", spec_draft_n_max=args.most
        )
        other, server = peer.chosen(args.peer, threads), None
        if other:
            chances = ",".join(f"{args.accept ** (i + 1):.6f}" for i in range(args.most))
            drafting = ("--spec-type", "draft-mtp", "--spec-draft-n-max", args.most, "--spec-synth-rates", chances)
            server = stack.enter_context(Server(other, subjects.llm.path, context, drafting))
        depths = [int(depth) for depth in args.fixed.split(",") if depth]
        ways = arms(subjects, args.accept, depths, server, args.n)
        prompts = iter(lambda: random.integers(300, 1000, args.prompt).tolist(), None)
        for way in ways.values():
            way(next(prompts))
        found = harness.interleave(
            {name: lambda way=way: way(next(prompts)) for name, way in ways.items()}, args.rounds, say
        )
        card = harness.card(subjects.llm.path, threads=threads)
    rows = []
    for name, answers in found.items():
        rate = Spread.of([each.tokens_per_s for each in answers]).median
        per_round = Spread.of([each.tokens_per_round for each in answers]).median
        rows.append([name, f"{rate:.2f}", f"{per_round:.2f}" if per_round else ""])
    print(table(rows, ["", "tokens/s", "tokens a round"]))
    lines = judge(found, args)
    print(table(lines, ["", "median", f"interval of {args.rounds} rounds", "asked", "verdict"]))
    about = {"card": card, "accept": args.accept, "most": args.most, "peer": other.describe() if other else None}
    details = {"answers": {name: [asdict(each) for each in answers] for name, answers in found.items()}}
    harness.finish("drafted", about | {"lines": lines}, details)


if __name__ == "__main__":
    main()
