"""P3, no prefill tax: a prompt read with the model's own head on against off, in turns in one process.

`python -m bench.prefill_tax FILE [--tokens 2048] [--rounds R]`. Off is what a user gets who asks for no drafting: the
same weights, nothing of the last layer computed but for the last row, nothing shown to the head.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

import numpy as np

from bench import harness
from bench.harness import say, table
from outpace import LLM
from outpace.spread import LEAST_ROUNDS, ratios, verdict

LEAST = 0.99


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a path or a name that `outpace pull` knows; its file must have a head")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=LEAST_ROUNDS)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    random = np.random.default_rng(0)
    with LLM(args.model, context=args.tokens + 64, threads=args.threads, spec_type="mtp") as llm:

        def read(drafter: str) -> float:
            # Another prompt each time, or it would be found in the cache.
            prompt = random.integers(300, 1000, args.tokens).tolist()
            answer = llm.generate(prompt_tokens=prompt, max_tokens=1, ignore_eos=True, drafter=drafter)
            return answer.timings.prompt_per_s

        read("mtp")
        found = harness.interleave({"off": lambda: read("none"), "on": lambda: read("mtp")}, args.rounds, say)
        spread = ratios(found["on"], found["off"])
        card = harness.card(llm.path, threads=llm.settings.threads)
    rows = [[name, *(f"{rate:.1f}" for rate in rates)] for name, rates in found.items()]
    print(table(rows, ["tokens/s", *(f"round {i + 1}" for i in range(args.rounds))]))
    print(f"on / off: {spread.median:.4f} ({spread.low:.4f} - {spread.high:.4f}), {verdict(spread, LEAST)} ({LEAST})")
    harness.finish("prefill_tax", {"card": card, "tokens": args.tokens, "ratio": asdict(spread)}, {"rates": found})


if __name__ == "__main__":
    main()
