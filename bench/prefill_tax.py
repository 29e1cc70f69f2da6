"""P3, no prefill tax: a prompt read with the model's own head on against off, step by step in turns.

`python -m bench.prefill_tax FILE [--tokens 2048] [--rounds R]`. Off is what a user gets who asks for no drafting: the
same weights, nothing of the last layer computed but for the last row, nothing shown to the head. The model is loaded
twice, and a step of one prompt follows a step of the other: a tax of a hundredth is less than what a shared machine
drifts between one whole prompt and the next.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from time import perf_counter

import numpy as np

from bench import harness
from bench.harness import say, table
from outpace import LLM
from outpace.spread import LEAST_ROUNDS, ratios, verdict

LEAST = 0.99

# Reads a prompt; calls what it is given after each step but the last.
Reader = Callable[[Callable[[], None]], None]


def in_turns(readers: Mapping[str, Reader]) -> dict[str, float]:
    """Run readers together, one step of each in turn; return the seconds that each has run."""
    names = list(readers)
    may_run = {name: threading.Semaphore(0) for name in names}
    seconds = dict.fromkeys(names, 0.0)
    left = list(names)

    def work(name: str) -> None:
        may_run[name].acquire()
        began = perf_counter()

        def step_done() -> None:
            nonlocal began
            seconds[name] += perf_counter() - began
            may_run[left[(left.index(name) + 1) % len(left)]].release()
            may_run[name].acquire()
            began = perf_counter()

        try:
            readers[name](step_done)
        finally:
            seconds[name] += perf_counter() - began
            following = left[(left.index(name) + 1) % len(left)]
            left.remove(name)
            if left:
                may_run[following].release()

    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    may_run[names[0]].release()
    for thread in threads:
        thread.join()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a path or a name that `outpace pull` knows; its file must have a head")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=LEAST_ROUNDS)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    random = np.random.default_rng(0)
    settings = {"context": args.tokens + 64, "threads": args.threads}
    with (
        LLM(args.model, spec_type="none", **settings) as off,
        LLM(args.model, spec_type="mtp", **settings) as on,
    ):

        def reader(llm: LLM) -> Reader:
            # Another prompt each time, or it would be found in the cache.
            prompt = random.integers(300, 1000, args.tokens).tolist()

            def read(step_done: Callable[[], None]) -> None:
                llm.stream(
                    prompt_tokens=prompt, max_tokens=1, ignore_eos=True, on_prompt=lambda *_: step_done()
                ).finish()

            return read

        arms = {"off": off, "on": on}
        in_turns({name: reader(llm) for name, llm in arms.items()})
        found: dict[str, list[float]] = {name: [] for name in arms}
        for i in range(args.rounds):
            say(f"round {i + 1}/{args.rounds}")
            order = list(arms) if i % 2 == 0 else list(reversed(arms))
            seconds = in_turns({name: reader(arms[name]) for name in order})
            for name in arms:
                found[name].append(args.tokens / seconds[name])
        spread = ratios(found["on"], found["off"])
        card = harness.card(on.path, threads=on.settings.threads)
    rows = [[name, *(f"{rate:.1f}" for rate in rates)] for name, rates in found.items()]
    print(table(rows, ["tokens/s", *(f"round {i + 1}" for i in range(args.rounds))]))
    print(f"on / off: {spread.median:.4f} ({spread.low:.4f} - {spread.high:.4f}), {verdict(spread, LEAST)} ({LEAST})")
    harness.finish("prefill_tax", {"card": card, "tokens": args.tokens, "ratio": asdict(spread)}, {"rates": found})


if __name__ == "__main__":
    main()
