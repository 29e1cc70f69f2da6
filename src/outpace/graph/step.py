"""What one forward pass is given and gives back: integers in, logits out; hidden states where a program has them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from outpace import _native

# Positions in a page of KV memory. Full pages are what sequences can share.
PAGE = 64

# Attention reduces the context in chunks of this many positions, in order, whatever the step's shape.
CHUNK = 256

PageTable: TypeAlias = "NDArray[np.int32] | array[int]"
Logits: TypeAlias = NDArray[np.float32]
Hidden: TypeAlias = NDArray[np.float32]

# A native draft program, and the offsets at which it leaves logits and hidden states.
NativeDraft: TypeAlias = "tuple[_native.Program, int, int]"


class Segment(NamedTuple):
    """The rows of one sequence in a step.

    Attributes:
        start: Position of the first row; the cache holds exactly the positions before it.
        n_rows: How many rows, at positions start .. start + n_rows - 1.
        pages: int32 [at least ceil((start + n_rows) / PAGE)]: the page that holds each run of PAGE positions.
        slot: Which recurrent state is the sequence's. Where start is 0 the state begins from zeros. Only programs with
            recurrent layers look at this and the two below; then the segments of a step have different slots.
        n_draft: How many of the last rows are guesses. They leave the recurrent state as it is and are staged instead.
        n_pending: How many of the rows that the slot's step before staged were accepted: its state takes in the first
            so many of them before this segment's own rows. start counts them.
        first: Attention begins at this position, a multiple of PAGE and at most start; what lies before it need not
            have been written.
    """

    start: int
    n_rows: int
    pages: PageTable
    slot: int = 0
    n_draft: int = 0
    n_pending: int = 0
    first: int = 0


class Step(NamedTuple):
    """One forward pass over the rows of one or more sequences.

    Attributes:
        tokens: Token id of each row, segment after segment [T].
        segments: Whose rows they are, in order.
        wanted: Indices of the rows whose logits are wanted, ascending [W]; among `exported` where the program exports.
        exported: Indices of the rows whose hidden state is asked for, ascending [X]; none stands for the wanted ones.
        hidden: float32 [T, D]: for a draft program, the hidden state of the position before each row's.
    """

    tokens: Sequence[int]
    segments: list[Segment]
    wanted: Sequence[int]
    exported: Sequence[int] = ()
    hidden: Hidden | None = None


class StepResult(NamedTuple):
    """What a step computed.

    Attributes:
        logits: float32 [W, V], [0, 0] from a plan without outputs; a view of the executable's workspace, valid until
            its next run.
        hidden: float32 [X, D] for programs that export it, else None; valid as long.
        program: The native program that holds the logits, for the sampler that reads them there; None elsewhere.
    """

    logits: Logits
    hidden: Hidden | None = None
    program: _native.Program | None = None
