"""P6, told before it loads: the total that `inspect` names against the peak resident memory of the run.

`python -m bench.memory FILE... [--contexts 1024,4096]`. Each run is a process of its own; the kernel tells its peak
when it ends. What is told is of a conversation, whose template needs an engine of its own (6 MB); a run whose prompt is
given in tokens does without, and is shown too. This module imports little, for a child starts with its parent's memory
on its account.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import harness
from bench.harness import ROOT, say, table

MOST_OFF = 0.05


def outpace(*arguments: object) -> tuple[dict[str, Any], int]:
    """Run the command line; return the JSON of its last line and its peak resident bytes.

    Raises:
        SystemExit: It failed.
    """
    command = [*harness.program(), *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}\n{err.read()[-2000:]}")
        scale = 1 if sys.platform == "darwin" else 1024
        return json.loads(out.read().splitlines()[-1]), usage.ru_maxrss * scale


def measure(model: str, context: int, n_prompt: int, n: int, extra: list[str]) -> list[dict[str, Any]]:
    """Return what was told, and for each way of prompting what was taken and how drafting fared in that run."""
    told, _ = outpace("inspect", model, "-c", context, "--json", *extra)
    n_prompt = min(n_prompt, context - n - 64)
    # Digits: a token each, in nearly all vocabularies.
    digits = "".join(str(i * i % 7) for i in range(n_prompt))
    prompts = {"tokens": ("--prompt-tokens", ",".join(str(100 + i % 300) for i in range(n_prompt)))}
    if told["has_template"]:
        prompts = {"chat": ("-p", digits)} | prompts
    total, found = told["memory"]["total_bytes"], []
    for way, prompt in prompts.items():
        answer, peak = outpace("run", model, *prompt, "-n", n, "-c", context, "--ignore-eos", "--json", *extra)
        taken = {"n_prompt": answer["timings"]["prompt_n"], "peak": peak, "drafts": answer["speculation"]}
        found.append({"way": way, "told": total, "off": total / peak - 1, "parts": told["memory"]} | taken)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", default=["smollm2-135m"])
    parser.add_argument("--contexts", default="1024,4096")
    parser.add_argument("--prompt", type=int, default=600, help="tokens of the prompt: more than one chunk")
    parser.add_argument("-n", type=int, default=64, help="tokens to write: enough that something is drafted")
    parser.add_argument("--kv-type", default="f16")
    args = parser.parse_args()
    rows, found = [], []
    for model in args.files:
        for context in (int(c) for c in args.contexts.split(",")):
            say(f"{model}, context {context}")
            name = Path(model).name
            for one in measure(model, context, args.prompt, args.n, ["--kv-type", args.kv_type]):
                is_met = abs(one["off"]) <= MOST_OFF
                told, peak = f"{one['told'] / 1e6:.1f}", f"{one['peak'] / 1e6:.1f}"
                drafted, met = one["drafts"]["drafted"], "met" if is_met else "not met"
                rows.append([name, context, one["way"], told, peak, f"{one['off']:+.1%}", drafted, met])
                found.append({"model": name, "context": context, "met": is_met} | one)
    head = ["model", "context", "prompt", "told, MB", "peak, MB", "off by", "drafted", f"within {MOST_OFF:.0%}"]
    print(table(rows, head))
    harness.finish("memory", {"card": harness.card(), "kv_type": args.kv_type, "runs": found})


if __name__ == "__main__":
    main()
