"""A context filled to its last token: a prompt of nearly all of it, then the same answer with and without drafting.

`python -m bench.long_context [FILE] [--context 262144] [-n 64] [--kv-type f16]`. Without a file it writes a tiny one of
the Qwen3.5 family with a head that often agrees. A prompt needs little of the last layer's attention, and with four
layers there is no other: `--layers 8` fills one in full, which takes time by the square of the context. Each way of
drafting reads the whole prompt in an engine of its own; then it is asked again, and what it has kept of the prompt
serves it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench import harness
from bench.harness import say, table
from bench.random_hybrid import write_random_hybrid
from outpace import LLM
from outpace.speculate import FixedDepth

# How much of the prompt is read between two lines about it.
TOLD = 32768
WAYS = "none,mtp 3,auto"


def answer(path: Path, way: str, prompt: list[int], args: argparse.Namespace) -> dict[str, Any]:
    """Fill the context in a fresh engine and write to its end, twice; return what it took and the tokens.

    Args:
        path: The model.
        way: A drafter, and a fixed depth if it has one ("mtp 3").
        prompt: Its tokens.
        args: `context`, `n`, `kv_type` and `threads`.
    """
    drafter, _, depth = way.partition(" ")
    options = {"context": args.context, "kv_type": args.kv_type, "threads": args.threads, "spec_type": drafter}
    ask = {"prompt_tokens": prompt, "max_tokens": args.n, "ignore_eos": True, "temperature": 0.0}
    at, began = 0, time.perf_counter()

    def tell(done: int, total: int) -> None:
        nonlocal at, began
        if done - at >= TOLD or done == total:
            now = time.perf_counter()
            say(f"{way}: {done} of {total} tokens, the last {done - at} at {(done - at) / (now - began):.0f}/s")
            at, began = done, now

    with LLM(path, policy=FixedDepth(int(depth)) if depth else None, **options) as llm:
        first = llm.generate(**ask, on_prompt=tell)
        again = llm.generate(**ask)
        threads = llm.settings.threads
    drafts = first.speculation
    return {
        "way": way,
        "threads": threads,
        "fill_s": first.timings.prompt_s,
        "fill_per_s": first.timings.prompt_per_s,
        "written_per_s": first.timings.predicted_per_s,
        "rounds": drafts.rounds,
        "drafted": drafts.drafted,
        "accepted": drafts.accepted,
        "again_prompt_s": again.timings.prompt_s,
        "again_same": again.tokens == first.tokens,
        "tokens": first.tokens,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--type", default="Q8_0", help="of the tiny file")
    parser.add_argument("--layers", type=int, default=4, help="of the tiny file")
    parser.add_argument("--context", type=int, default=262144)
    parser.add_argument("-n", type=int, default=64, help="tokens to write, up to the context's last")
    parser.add_argument("--kv-type", default="f16")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--ways", default=WAYS, help=f"with commas; the first is what others must equal: {WAYS}")
    args = parser.parse_args()
    # Tokens that every vocabulary has.
    prompt = np.random.default_rng(0).integers(300, 1000, args.context - args.n).tolist()
    with tempfile.TemporaryDirectory(prefix="outpace-bench-") as folder:
        tiny = Path(folder) / "tiny.gguf"
        path = args.model or write_random_hybrid(tiny, type=args.type, mtp_aligned=0.7, n_layers=args.layers)
        found = [answer(path, way, prompt, args) for way in args.ways.split(",")]
        card = harness.card(path, threads=found[0]["threads"])
    for one in found:
        is_full = len(one["tokens"]) == args.n
        one["same"] = is_full and one["tokens"] == found[0]["tokens"] and one.pop("again_same")
    rows = [
        [
            one["way"],
            f"{one['fill_s']:.1f}",
            f"{one['fill_per_s']:.0f}",
            f"{one['written_per_s']:.1f}",
            one["drafted"],
            one["accepted"],
            f"{one['again_prompt_s']:.2f}",
            "yes" if one["same"] else "NO",
        ]
        for one in found
    ]
    head = ["drafter", "fill, s", "tokens/s", "written/s", "drafted", "accepted", "again, s", "same text"]
    print(f"a prompt of {len(prompt)} tokens and {args.n} written: a context of {args.context}, KV {args.kv_type}")
    print(table(rows, head))
    is_same = all(one["same"] for one in found)
    shown = [{name: value for name, value in one.items() if name != "tokens"} for one in found]
    result = {"card": card, "context": args.context, "kv_type": args.kv_type, "is_same": is_same, "ways": shown}
    harness.finish("long_context", result, {"tokens": [one["tokens"] for one in found]})
    raise SystemExit(not is_same)


if __name__ == "__main__":
    main()
