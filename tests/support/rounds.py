"""Rounds of drafting as an engine would have them, on one sequence, every row compared with a plain run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tests.support.stepping import Stepper

from outpace.backends.backend import Executable
from outpace.graph.step import Step


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


def same_count(stepper: Stepper, tokens: list[int], whole: np.ndarray, n_right: int, most: int) -> None:
    """Draft `most` and accept `n_right`, over and over to the end of the text: every row has its bits."""
    while (at := stepper.at) < len(tokens) - most - 1:
        draft = tokens[at + 1 : at + 1 + most]
        draft[n_right:] = [wrong(token) for token in draft[n_right:]]
        assert np.array_equal(stepper.feed(tokens[at : at + 1], draft)[: 1 + n_right], whole[at : at + 1 + n_right])
        stepper.accept(n_right)


def two_at_once(executable: Executable, tokens: list[int], whole: np.ndarray, backwards: np.ndarray) -> None:
    """Run a text and the same one backwards in one step: each has the bits it has alone (`whole`, `backwards`)."""
    one, other = Stepper(executable, 2, [0, 5, 3]), Stepper(executable, 0, [1, 4, 2])
    text = tokens[::-1]
    one.feed(tokens[:70])
    one.accept(0)
    other.feed(text[:9], [*text[9:12], wrong(text[12])])
    other.accept(3)
    both = [*tokens[70:73], *text[12:14]]
    step = Step(both, [one.segment(tokens[70:72], tokens[72:73]), other.segment(text[12:14])], range(5), range(5))
    logits = executable.run(step).logits
    assert np.array_equal(logits[:3], whole[70:73])
    assert np.array_equal(logits[3:], backwards[12:14])
