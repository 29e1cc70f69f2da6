"""P2, never slower: automatic drafting and plain decoding in turns over the prompts, judged against plain's own noise.

Each round runs a prompt plainly, drafted, and plainly again. What the two plain runs differ by is the noise; a prompt
counts as slower or faster only where its median ratio lies outside of what they do.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from statistics import geometric_mean, median
from typing import Any

from bench import harness
from bench.harness import say, table
from bench.tasks.prompts import Prompt, some
from outpace import LLM, hub
from outpace.spread import LEAST_ROUNDS, Spread

# No difference smaller than this is called one.
LEAST_NOISE = 0.01


@dataclass
class Record:
    """One prompt's runs: tokens per second by round, and what drafting wrote in a round of its own."""

    prompt: Prompt
    plain: list[float]
    again: list[float]
    drafted: list[float]
    tokens_per_round: list[float]

    @property
    def ratio(self) -> Spread:
        """Drafted over plain, the mean of the plain runs before and after."""
        return Spread.of([2 * d / (a + b) for d, a, b in zip(self.drafted, self.plain, self.again, strict=True)])

    @property
    def noise(self) -> float:
        """The second plain run over the first."""
        return median(b / a for a, b in zip(self.plain, self.again, strict=True))


def measure(plain: LLM, drafted: LLM, prompts: list[Prompt], rounds: int, n_tokens: int, temperature: float) -> Any:
    """Return the records, and in how many runs drafting changed the text."""
    records = [Record(prompt, [], [], [], []) for prompt in prompts]
    n_different = 0
    began = time.perf_counter()
    # The first round reads the prompts, warms up, and is not counted.
    for i in range(rounds + 1):
        for record in records:
            runs = [
                llm.generate(record.prompt.text, max_tokens=n_tokens, ignore_eos=True, temperature=temperature, seed=20)
                for llm in (plain, drafted, plain)
            ]
            n_different += runs[1].tokens != runs[0].tokens
            if i:
                speeds = [run.timings.predicted_per_s for run in runs]
                record.plain.append(speeds[0])
                record.drafted.append(speeds[1])
                record.again.append(speeds[2])
                record.tokens_per_round.append(runs[1].speculation.tokens_per_round)
        say(f"round {i} of {rounds}, {time.perf_counter() - began:.0f} s")
    return records, n_different


def word(ratio: Spread, noise: float) -> str:
    """Say what a ratio means."""
    if ratio.median > 1 + noise and ratio.low > 1:
        return "faster"
    if ratio.median < 1 - noise and ratio.high < 1:
        return "slower"
    return "the same"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--prompts", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    path = hub.resolve(args.model)
    options: dict[str, Any] = {"context": 1024, "threads": args.threads}
    with LLM(path, spec_type="none", **options) as plain, LLM(path, **options) as drafted:
        records, n_different = measure(plain, drafted, some(args.prompts), args.rounds, args.tokens, args.temperature)
        threads = plain.settings.threads
    noise = max(LEAST_NOISE, *(abs(record.noise - 1) for record in records))
    rows, found = [], {}
    for record in records:
        ratio, verdict = record.ratio, word(record.ratio, noise)
        speeds = [f"{median(record.plain + record.again):.1f}", f"{median(record.drafted):.1f}"]
        per_round = f"{median(record.tokens_per_round):.2f}"
        interval = f"{ratio.low:.3f} - {ratio.high:.3f}"
        name = f"{record.prompt.name} ({record.prompt.kind}{', repeats' if record.prompt.repeats else ''})"
        rows.append([name, *speeds, per_round, f"{ratio.median:.3f}", interval, verdict])
        found[record.prompt.name] = ratio.as_json() | {"verdict": verdict, "repeats": record.prompt.repeats}
    print(table(rows, ["prompt", "plain tok/s", "drafted", "tokens a round", "ratio", "interval", "drafting is"]))

    def mean_of(repeats: bool) -> float:
        chosen = [record.ratio.median for record in records if record.prompt.repeats is repeats]
        return round(geometric_mean(chosen), 3) if chosen else 0.0

    verdicts = [part["verdict"] for part in found.values()]
    result = {
        "card": harness.card(path, threads=threads),
        "noise": round(noise, 4),
        "rounds": args.rounds,
        "temperature": args.temperature,
        **{key: verdicts.count(key) for key in ("faster", "the same", "slower")},
        "ratio_where_repeating": mean_of(True),
        "ratio_elsewhere": mean_of(False),
        "different_texts": n_different,
        "prompts": found,
    }
    print(
        f"drafting was slower than plain on {result['slower']} of {len(rows)} prompts, faster on {result['faster']}; "
        f"plain runs differ among themselves by up to {noise:.1%}; {n_different} texts differ"
    )
    if args.rounds < LEAST_ROUNDS:
        print(f"no verdict before {LEAST_ROUNDS} rounds")
    harness.finish("never_slower", result)


if __name__ == "__main__":
    main()
