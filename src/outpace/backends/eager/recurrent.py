"""Recurrent verbs and the states they keep: known rows enter a state, guesses are staged beside it until accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from outpace.backends.eager.kv import Array
from outpace.backends.eager.rows import Span
from outpace.graph.step import Segment


class Updates(NamedTuple):
    """What the rows of a step do to a gated-delta layer's memory; all that needs keeping of a guess."""

    k: Array  # [T, G, K]
    v: Array  # [T, H, V]
    decay: Array  # [T, H]
    beta: Array  # [T, H]

    def rows(self, begin: int, end: int) -> Updates:
        """Return those of some rows."""
        return Updates(*(each[begin:end] for each in self))


@dataclass(slots=True)
class _Layer:
    """One layer's state in one slot, and what guesses staged there."""

    window: Array | None = None  # [J - 1, C]
    memory: Array | None = None  # [H, K, V]
    staged_inputs: Array | None = None  # [staged, C]
    staged: Updates | None = None


class RecurrentState:
    """The recurrent states of all slots, and up to where each has come.

    State: changed by the verbs of a step, between `begin` and the next `begin`.
    """

    def __init__(self, n_slots: int, max_draft: int) -> None:
        self._max_draft = max_draft
        self._layers: list[dict[int, _Layer]] = [{} for _ in range(n_slots)]
        # Known positions that each slot's state has taken in, and rows staged after them; None before its first step.
        self._reached: list[tuple[int, int] | None] = [None] * n_slots

    def begin(self, segments: Sequence[Segment]) -> None:
        """Check that a step goes on where its slots stopped, and note where it will leave them."""
        slots = [segment.slot for segment in segments]
        assert len(set(slots)) == len(slots), f"two segments share a slot: {slots}"
        for start, n_rows, _, slot, n_draft, n_pending, _ in segments:
            assert 0 <= n_draft <= min(n_rows, self._max_draft), f"{n_draft} guesses, room for {self._max_draft}"
            if start == 0:
                assert n_pending == 0, "a new sequence has nothing pending"
                self._layers[slot] = {}
            else:
                reached = self._reached[slot]
                assert reached is not None, f"slot {slot} has no state at position {start}"
                assert n_pending <= reached[1], f"{n_pending} rows accepted of {reached[1]} staged"
                assert start == reached[0] + n_pending, f"slot {slot} is at {reached[0]} + {n_pending}, not {start}"
            self._reached[slot] = (start + n_rows - n_draft, n_draft)

    def layer(self, slot: int, number: int) -> _Layer:
        """Return one layer's state."""
        return self._layers[slot].setdefault(number, _Layer())

    def copy(self, source: int, target: int) -> None:
        """Copy a slot, what is staged there too."""
        reached = self._reached[source]
        assert reached is not None, f"slot {source} has no state to copy"
        # Arrays are replaced, never written to, so both slots may hold one.
        self._layers[target] = {number: replace(layer) for number, layer in self._layers[source].items()}
        self._reached[target] = reached


def conv(x: Array, weight: Array, spans: Sequence[Span], state: RecurrentState, number: int) -> Array:
    """Convolve over time: x [T, C], weight [C, J] -> [T, C]; see `Ops.conv`."""
    out = np.empty_like(x)
    n_past = weight.shape[1] - 1
    for span in spans:
        first, n_rows, segment = span.first, span.n_rows, span.segment
        layer = state.layer(segment.slot, number)
        window = layer.window if layer.window is not None else np.zeros((n_past, x.shape[1]), np.float32)
        if segment.n_pending:
            assert layer.staged_inputs is not None
            window = np.concatenate([window, layer.staged_inputs[: segment.n_pending]])[segment.n_pending :]
        inputs = np.concatenate([window, x[first : first + n_rows]])
        total = inputs[:n_rows] * weight[:, 0]
        for j in range(1, n_past + 1):
            total += inputs[j : j + n_rows] * weight[:, j]
        out[first : first + n_rows] = total
        n_known = n_rows - segment.n_draft
        layer.window = inputs[n_known : n_known + n_past].copy()
        layer.staged_inputs = inputs[n_past + n_known :].copy()
    return out


def gated_delta(
    q: Array, updates: Updates, spans: Sequence[Span], state: RecurrentState, number: int, tiled: bool
) -> Array:
    """Update and read each sequence's memory row by row: q [T, G, K] -> [T, H, V]; see `Ops.gated_delta`."""
    out = np.empty_like(updates.v)
    n_heads, n_key_heads = updates.v.shape[1], q.shape[1]
    heads = np.arange(n_heads)
    key_of = heads % n_key_heads if tiled else heads // (n_heads // n_key_heads)
    for span in spans:
        first, n_rows, segment = span.first, span.n_rows, span.segment
        layer = state.layer(segment.slot, number)
        if layer.memory is None:
            layer.memory = np.zeros((n_heads, q.shape[2], updates.v.shape[2]), np.float32)
        memory = layer.memory.copy()
        if segment.n_pending:
            assert layer.staged is not None
            for i in range(segment.n_pending):
                _update(memory, layer.staged, i, key_of)
        n_known = n_rows - segment.n_draft
        for i in range(first, first + n_known):
            _update(memory, updates, i, key_of)
            out[i] = _read(memory, q[i, key_of])
        layer.memory = memory.copy() if segment.n_draft else memory
        # Guesses go on from a copy, and leave only what they would have done.
        for i in range(first + n_known, first + n_rows):
            _update(memory, updates, i, key_of)
            out[i] = _read(memory, q[i, key_of])
        layer.staged = Updates(*(each.copy() for each in updates.rows(first + n_known, first + n_rows)))
    return out


def _update(memory: Array, updates: Updates, i: int, key_of: np.ndarray[tuple[int], np.dtype[np.intp]]) -> None:
    """Let row i change the memory [H, K, V] in place."""
    k = updates.k[i, key_of]  # [H, K]
    memory *= updates.decay[i, :, None, None]
    recalled = _read(memory, k)
    change = updates.beta[i, :, None] * (updates.v[i] - recalled)  # [H, V]
    memory += k[:, :, None] * change[:, None, :]


def _read(memory: Array, key: Array) -> Array:
    """Return S^T k for each head: [H, K, V], [H, K] -> [H, V]."""
    found: Array = np.matmul(key[:, None, :], memory)[:, 0, :]
    return found
