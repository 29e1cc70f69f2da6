"""A policy of fixed depth that remembers what it was shown."""

from __future__ import annotations

from outpace.speculate import FixedDepth


class Recorder(FixedDepth):
    """Keeps every draft it is shown."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.drafts: list[list[int]] = []

    def choose(self, drafts, n_rows, room):
        self.drafts += [list(draft.tokens) for draft in drafts]
        return super().choose(drafts, n_rows, room)
