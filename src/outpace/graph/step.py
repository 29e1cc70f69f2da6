"""What one forward pass is given and gives back: integers in, logits out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

# Positions in a page of KV memory. Full pages are what sequences can share.
PAGE = 64

# Attention reduces the context in chunks of this many positions, in order, whatever the step's shape.
CHUNK = 256

PageTable: TypeAlias = NDArray[np.int32]
Logits: TypeAlias = NDArray[np.float32]


class Segment(NamedTuple):
    """The rows of one sequence in a step.

    Attributes:
        start: Position of the first row; the cache holds exactly the positions before it.
        n_rows: How many rows, at positions start .. start + n_rows - 1.
        pages: int32 [at least ceil((start + n_rows) / PAGE)]: the page that holds each run of PAGE positions.
    """

    start: int
    n_rows: int
    pages: PageTable


class Step(NamedTuple):
    """One forward pass over the rows of one or more sequences.

    Attributes:
        tokens: Token id of each row, segment after segment [T].
        segments: Whose rows they are, in order.
        wanted: Indices of the rows whose logits are wanted, ascending [W].
    """

    tokens: Sequence[int]
    segments: list[Segment]
    wanted: Sequence[int]


class StepResult(NamedTuple):
    """What a step computed.

    Attributes:
        logits: float32 [W, V]; a view of the executable's workspace, valid until its next run.
        hidden: float32 [T, D] for programs that export it, else None.
    """

    logits: Logits
    hidden: NDArray[np.float32] | None = None
