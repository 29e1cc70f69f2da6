"""Which rows a step has: whose they are, at which positions, where their KV lies, and which are asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from outpace.graph.step import PAGE, Segment, Step

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Span:
    """The rows of one segment.

    Attributes:
        first: Index of its first row in the step.
        start: Position of that row.
        n_rows: How many rows.
        segment: Whose they are.
        places: Where the KV of each position before start + n_rows lies: page * PAGE + offset.
    """

    first: int
    start: int
    n_rows: int
    segment: Segment
    places: Indices

    @classmethod
    def of(cls, segment: Segment, first: int) -> Span:
        """Return the span of a segment whose first row is row `first` of the step."""
        end = segment.start + segment.n_rows
        pages = np.asarray(segment.pages[: -(-end // PAGE)], np.intp)
        places = (pages[:, None] * PAGE + np.arange(PAGE)).reshape(-1)[:end]
        assert len(places) == end, f"{len(pages)} pages for {end} positions"
        begin = segment.first
        assert 0 <= begin <= segment.start and begin % PAGE == 0, f"attention from {begin} on at {segment.start}"
        return cls(first, segment.start, segment.n_rows, segment, places)


class Rows:
    """The rows of a step."""

    def __init__(self, step: Step) -> None:
        self.spans: list[Span] = []
        first = 0
        for segment in step.segments:
            self.spans.append(Span.of(segment, first))
            first += segment.n_rows
        self.n = first
        self.positions: Indices = _joined([np.arange(s.start, s.start + s.n_rows) for s in self.spans])
        self.places: Indices = _joined([s.places[s.start :] for s in self.spans])
        self.wanted = np.asarray(step.wanted, np.intp)
        self.exported = np.asarray(step.exported, np.intp) if len(step.exported) else self.wanted
        assert set(step.wanted) <= set(self.exported.tolist()), "a wanted row is not exported"

    def of(self, n: int) -> Indices:
        """Return which rows of the step a value of `n` rows has: all, the exported or the wanted ones [n].

        Wanted rows are among the exported ones, exported ones among all: sets of one size are one set.
        """
        if n == self.n:
            return np.arange(self.n)
        return self.exported if n == len(self.exported) else self.wanted


def _joined(parts: list[Indices]) -> Indices:
    return np.concatenate(parts) if parts else np.empty(0, np.intp)
