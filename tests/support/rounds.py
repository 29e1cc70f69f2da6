"""Rounds of drafting as an engine would have them, on one sequence, every row compared with a plain run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tests.support.stepping import Stepper


def wrong(token: int) -> int:
    return (token + 17) % 64


def rounds(
    stepper: Stepper,
    random: np.random.Generator,
    tokens: Sequence[int],
    whole: np.ndarray,
    n_rounds: int,
    most: int,
) -> None:
    """Draft up to `most` and accept any number, round after round; every row that is of the text has its bits."""
    for _ in range(n_rounds):
        at = stepper.at
        n_known = int(random.integers(1, 4))
        n_draft = int(random.integers(0, most + 1))
        n_right = int(random.integers(0, n_draft + 1))
        known, draft = list(tokens[at : at + n_known]), list(tokens[at + n_known : at + n_known + n_draft])
        draft = draft[:n_right] + [wrong(token) for token in draft[n_right:]]
        logits = stepper.feed(known, draft)
        n_same = n_known + n_right
        assert np.array_equal(logits[:n_same], whole[at : at + n_same]), (at, n_known, n_draft, n_right)
        stepper.accept(n_right)
