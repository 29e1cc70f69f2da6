"""The model's own head, made of a draft program and a sampler's notion of chance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outpace.sampling.params import SamplingParams
from outpace.sampling.sampler import Sampler
from outpace.speculate.mtp import Head

if TYPE_CHECKING:
    from outpace.backends.backend import DraftExecutable


def head_of(program: DraftExecutable, width: int, n_vocab: int) -> Head:
    """Return the drafter that a draft program is, of a model of width D and V tokens."""
    # Only its notion of chance is asked for, which has no settings.
    sampler = Sampler(SamplingParams.greedy(), program.n_vocab)
    return Head(program, width, program.limits.max_rows, n_vocab, sampler.chance)
