"""Python's share of a decode step: the engine over an executable that computes nothing.

The cold rows read 98 MB between two turns of the engine, as a step of SmolLM2-135M does: Python then finds its own
objects in main memory, which is most of what it costs.

Usage: python -m bench.overhead [--steps N] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import json
import statistics
import time

import numpy as np

from outpace.backends.backend import Limits
from outpace.engine.engine import Engine
from outpace.engine.output import Output
from outpace.engine.sequence import Request, Sequence
from outpace.graph.step import PAGE, Step, StepResult
from outpace.sampling.params import SamplingParams
from outpace.speculate import AutoDepth, Drafter, NoDrafter, StepCosts, SuffixDrafter

N_VOCAB = 49152


class Idle:
    """An executable that computes nothing, but may read as many bytes as a model has, so that the caches go cold.

    Attributes:
        spent_s: Seconds of the last step.
    """

    def __init__(self, limits: Limits, cold_bytes: int) -> None:
        self.limits, self.n_vocab = limits, N_VOCAB
        self._result = StepResult(np.zeros((limits.max_wanted, N_VOCAB), np.float32))
        self._weights = np.ones(cold_bytes // 8, np.int64)
        self.spent_s = 0.0

    def run(self, step: Step) -> StepResult:  # noqa: ARG002 - the protocol's argument
        """Return logits of nothing."""
        began = time.perf_counter()
        if len(self._weights):
            self._weights.max()
        self.spent_s = time.perf_counter() - began
        return self._result

    def copy_page(self, source: int, target: int) -> None:
        """Copy nothing."""


class Scripted:
    """A sampler that costs nothing: the token is a function of the position."""

    needs_history = False
    accept = None

    def __init__(self, text: list[int]) -> None:
        self._text = text

    def choose(self, logits: object, position: int, recent: object = ()) -> int:  # noqa: ARG002
        """Return the next token of the script."""
        return self._text[position]


class Bytes:
    """A detokeniser's vocabulary of one-letter tokens."""

    whole_texts: tuple[dict[int, str], dict[int, str]] = ({}, {})

    def token_bytes(self, token: int, skip_special: bool = False) -> bytes:  # noqa: ARG002
        """Return a letter."""
        return b"a" if token else b"b"


def steps(drafter: Drafter, n_steps: int, n_prompt: int, cold_bytes: int = 0) -> list[float]:
    """Return the CPU seconds of each decode step of one sequence."""
    from outpace.text.stops import StopStrings
    from outpace.text.stream import Detokenizer

    text = np.random.default_rng(0).integers(0, N_VOCAB, n_prompt + n_steps + 2).tolist()
    limits = Limits(512, 17, len(text) // PAGE + 2)
    executable = Idle(limits, cold_bytes)
    engine = Engine(executable, AutoDepth(StepCosts({1: 1.0}), 16), 1)
    params = SamplingParams.greedy()
    output = Output(Detokenizer(Bytes()), StopStrings(["\n\n"]), frozenset({-1}))  # type: ignore[arg-type]
    request = Request(tuple(text[:n_prompt]), params)
    sequence = Sequence(request, Scripted(text), drafter, output, len(text))  # type: ignore[arg-type]
    engine.add(sequence)
    while not sequence.first_s:
        engine.step()
    found = []
    for _ in range(n_steps):
        began = time.perf_counter()
        engine.step()
        output.take()
        found.append(time.perf_counter() - began - executable.spent_s)
    return found


def main() -> None:
    """Print the median and the 90th percentile in microseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--prompt", type=int, default=1000)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    if args.profile:
        cProfile.runctx("steps(SuffixDrafter(), args.steps, args.prompt)", globals(), locals(), sort="tottime")
        return
    result = {}
    for name, make, cold_bytes, n_steps in (
        ("none", NoDrafter, 0, args.steps),
        ("suffix", SuffixDrafter, 0, args.steps),
        ("none, cold caches", NoDrafter, 98 << 20, args.steps // 20),
        ("suffix, cold caches", SuffixDrafter, 98 << 20, args.steps // 20),
    ):
        found = sorted(x * 1e6 for x in steps(make(), n_steps, args.prompt, cold_bytes))
        median, p90 = statistics.median(found), found[len(found) * 9 // 10]
        result[name] = {"median_us": round(median, 1), "p90_us": round(p90, 1)}
        print(f"{name:20} {median:6.1f} us median, {p90:6.1f} us at the 90th percentile")
    print(json.dumps({"overhead": result}))


if __name__ == "__main__":
    main()
