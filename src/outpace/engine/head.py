"""The model's own head, made of a draft program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outpace.speculate.mtp import Head

if TYPE_CHECKING:
    from outpace.backends.backend import DraftExecutable


def head_of(program: DraftExecutable, width: int, n_vocab: int) -> Head:
    """Return the drafter that a draft program is, of a model of width D and V tokens."""
    return Head(program, width, program.limits.max_rows, n_vocab)
