"""Our own step times, measured in a process of their own as the peer's are: `python -m bench.ours FILE --json`.

Every width is timed twice: with the logits of its last row, which is what the peer's bench computes, and with those of
all its rows, which is what verifying a draft needs. Reads of memory are timed in between, in the same process.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from bench.harness import table
from outpace import _native, env, hub
from outpace.backends.backend import Limits
from outpace.backends.cpu import CpuBackend, choose_tier
from outpace.backends.cpu.weights import packed_bytes
from outpace.engine.resolve import MAX_ROWS
from outpace.gguf.file import open_gguf
from outpace.graph.cost import step_cost
from outpace.graph.step import PAGE, Segment, Step
from outpace.models import load_plan
from outpace.spread import Spread

# Large enough that no cache holds it.
READ_BYTES = 512 << 20

# Tokens decoded for one value of width 1, from an empty context on, as many as the peer's bench is asked for.
DECODE = 16


def measure(
    path: Path,
    widths: list[int],
    prefill: int,
    repeats: int,
    *,
    threads: int,
    tier: str | None = None,
    kv_type: str = "f16",
    prefill_repeats: int = 2,
) -> dict[str, Any]:
    """Return seconds of steps by width, of prefills, and the bandwidth that plain reading reaches.

    Args:
        path: The model.
        widths: Rows of a step.
        prefill: Tokens of a prompt; 0 for none.
        repeats: Values for each width.
        threads: Threads that compute.
        tier: Kernel tier; None for the CPU's best.
        kv_type: How keys and values are kept.
        prefill_repeats: Values for the prefill, after one that does not count.
    """
    tier = choose_tier(tier)
    n_pages = max(-(-prefill // PAGE), -(-max([*widths, DECODE]) // PAGE))
    pages = np.arange(n_pages, dtype=np.int32)
    began = perf_counter()
    with open_gguf(path) as file:
        plan = load_plan(file).plan
        limits = Limits(min(MAX_ROWS, n_pages * PAGE), max(widths), n_pages, kv_type)
        executable = CpuBackend(threads=threads, tier=tier).compile(plan, file, limits)
        load_s = perf_counter() - began
        refs = {node.weights[0].name: node.weights[0] for node in plan.nodes if node.verb.startswith("linear")}
        packed = sum(packed_bytes(ref, tier) for ref in refs.values())
    tokens = np.random.default_rng(0).integers(0, executable.n_vocab, max(prefill, *widths, DECODE)).tolist()

    def run(start: int, n_rows: int, wanted: list[int]) -> None:
        executable.run(Step(tokens[start : start + n_rows], [Segment(start, n_rows, pages)], wanted))

    def decode() -> None:
        for i in range(DECODE):
            run(i, 1, [0])

    def read_prompt() -> None:
        for start in range(0, prefill, MAX_ROWS):
            n = min(MAX_ROWS, prefill - start)
            run(start, n, [n - 1] if start + n == prefill else [])

    pool, memory = _native.Pool(threads), _native.Memory(READ_BYTES)
    steps: dict[int, list[float]] = {width: [] for width in widths}
    verifies: dict[int, list[float]] = {width: [] for width in widths if width > 1}
    bandwidth: list[float] = []
    for i in range(repeats + 1):
        read = _native.read_bandwidth(tier, pool, memory)
        plain = {w: _time(decode) / DECODE if w == 1 else _time(lambda w=w: run(0, w, [w - 1])) for w in widths}
        verify = {w: _time(lambda w=w: run(0, w, list(range(w)))) for w in verifies}
        if i:  # the first round only warms up
            bandwidth.append(read / 1e9)
            for width, seconds in plain.items():
                steps[width].append(seconds)
            for width, seconds in verify.items():
                verifies[width].append(seconds)
    prefills = [_time(read_prompt) for _ in range(prefill_repeats + 1)][1:] if prefill else []
    return {
        "tier": tier,
        "threads": threads,
        "kv_type": kv_type,
        "load_s": load_s,
        "file_bytes": step_cost(plan).weight_bytes,
        "packed_bytes": packed,
        "step_s": {str(width): values for width, values in steps.items()},
        "verify_s": {str(width): values for width, values in verifies.items()},
        "prefill_n": prefill,
        "prefill_s": prefills,
        "read_gbps": bandwidth,
    }


def _time(run: Callable[[], None]) -> float:
    began = perf_counter()
    run()
    return perf_counter() - began


def shown(found: dict[str, Any]) -> str:
    """Return what was measured for people."""
    rows = []
    for kind in ("step", "verify"):
        for width, values in found[f"{kind}_s"].items():
            s = Spread.of([1e3 * x for x in values])
            rows.append([f"{kind} of {width}", f"{s.median:.2f}", f"{s.q1:.2f} - {s.q3:.2f}"])
    if found["prefill_s"]:
        s = Spread.of([found["prefill_n"] / x for x in found["prefill_s"]])
        rows.append([f"prefill of {found['prefill_n']}, tokens/s", f"{s.median:.1f}", f"{s.q1:.1f} - {s.q3:.1f}"])
    s = Spread.of(found["read_gbps"])
    rows.append(["plain reading, GB/s", f"{s.median:.1f}", f"{s.q1:.1f} - {s.q3:.1f}"])
    return table(rows, [f"{found['tier']}, {found['threads']} threads", "median ms", "middle half"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--widths", default="1,2,4,8")
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--prefill-repeats", type=int, default=2)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--tier")
    parser.add_argument("--kv-type", default="f16")
    parser.add_argument("--json", action="store_true", help="nothing but one line of JSON")
    args = parser.parse_args()
    environment = env.read()
    found = measure(
        hub.resolve(args.model, is_bare=True),
        [int(width) for width in args.widths.split(",")],
        args.prefill,
        args.repeats,
        threads=args.threads or environment.threads or CpuBackend().threads,
        tier=args.tier or environment.tier,
        kv_type=args.kv_type,
        prefill_repeats=args.prefill_repeats,
    )
    if not args.json:
        print(shown(found))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
