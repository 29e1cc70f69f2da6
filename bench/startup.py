"""Start to first token: `outpace run MODEL -p hi` from the spawn of its process to the first byte of its answer.

The program may write its bytecode, as it is written for what pip installs; the first run, which does not count, does.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from time import perf_counter

from bench import harness
from bench.harness import ROOT
from outpace.spread import Spread, verdict

MOST_S = 1.0


def first_byte(model: str, arguments: list[str]) -> float:
    """Return seconds to the first byte on standard output.

    Raises:
        SystemExit: There came none.
    """
    began = perf_counter()
    with subprocess.Popen(
        [*harness.program(), "run", model, "-p", "hi", *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        found = process.stdout.read(1)
        seconds = perf_counter() - began
        process.kill()
        if not found:
            raise SystemExit(f"no answer: {process.stderr.read().decode()[-2000:]}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("arguments", nargs="*", help="more for `outpace run`, after --")
    args = parser.parse_args()
    first_byte(args.model, args.arguments)  # brings the file into the page cache
    found = Spread.of([first_byte(args.model, args.arguments) for _ in range(args.runs)])
    met = verdict(found, MOST_S, at_most=True)
    print(
        f"start to first byte: median {found.median:.3f} s, {found.low:.3f} - {found.high:.3f}; under {MOST_S} s: {met}"
    )
    harness.finish("startup", {"card": harness.card(), "seconds": found.as_json(), "verdict": met})


if __name__ == "__main__":
    main()
