"""Engines over toy executables, and one call that runs prompts on them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from tests.support.toy import ToyExecutable

from outpace.backends.backend import Limits
from outpace.engine import loop
from outpace.engine.engine import Engine
from outpace.engine.output import Output
from outpace.engine.sequence import Request, Sequence
from outpace.sampling.params import SamplingParams
from outpace.sampling.sampler import Sampler
from outpace.speculate import Drafter, FixedDepth, NoDrafter, Policy

N_VOCAB = 50
GREEDY = SamplingParams.greedy()


def engine(n_pages=64, max_rows=96, max_wanted=24, max_running=4, policy: Policy | None = None, **toy) -> Engine:
    executable = ToyExecutable(Limits(max_rows, max_wanted, n_pages), N_VOCAB, **toy)
    return Engine(executable, policy or FixedDepth(4), max_running)


def sequence(
    prompt,
    n: int = 40,
    params: SamplingParams = GREEDY,
    drafter: Drafter | None = None,
    output: Output | None = None,
) -> Sequence:
    request = Request(tuple(prompt), params)
    sampler = Sampler(params, N_VOCAB, reference=True)
    return Sequence(request, sampler, drafter or NoDrafter(), output or Output(), len(prompt) + n)


def write(
    prompt, n=40, params=GREEDY, drafter: Callable[[], Drafter] = NoDrafter, on: Engine | None = None
) -> Sequence:
    """Run one prompt to its end."""
    found = sequence(prompt, n, params, drafter())
    for _ in loop.run(on or engine(), [found]):
        pass
    return found


def plain(prompt, n: int, params: SamplingParams = GREEDY, **toy) -> list[int]:
    """What plain decoding writes alone, prompt included."""
    return list(_plain(tuple(prompt), n, params, tuple(toy.items())))


@lru_cache(maxsize=2000)
def _plain(prompt: tuple[int, ...], n: int, params: SamplingParams, toy: tuple) -> tuple[int, ...]:
    return tuple(write(prompt, n, params, on=engine(**dict(toy))).tokens)
