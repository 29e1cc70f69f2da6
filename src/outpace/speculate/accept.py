"""Check a draft against what plain decoding chooses: pure, one row at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Kept(NamedTuple):
    """How much of a draft stands.

    Attributes:
        n: Drafted tokens that are kept.
        next_token: The token chosen after them; it is not in the cache yet.
    """

    n: int
    next_token: int


def accept(draft: Sequence[int], choose: Callable[[int], int]) -> Kept:
    """Keep the drafted tokens that plain decoding would have chosen.

    Rows are asked for in order and only as far as needed: row i+1 exists in plain decoding only if row i chose
    draft[i]. So a chooser that remembers its own choices (penalties) sees exactly the history of plain decoding.

    Args:
        draft: The guesses fed after the last known token.
        choose: Gives the token chosen from row i; row 0 is the last known token's, row i+1 that of draft[i].
    """
    for i, guess in enumerate(draft):
        token = choose(i)
        if token != guess:
            return Kept(i, token)
    return Kept(len(draft), choose(len(draft)))
