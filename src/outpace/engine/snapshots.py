"""Recurrent states kept at page borders, for sequences that begin with the same text."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Sequence as List
from dataclasses import dataclass

from outpace.engine.sequence import Sequence
from outpace.graph.step import PAGE, Hidden

# What a prompt's own snapshot must save over the one it began with: less is read anew about as soon as a step is cut.
LEAST_APART = 4 * PAGE

# On the way there a long prompt leaves at most so many, this far apart or further; its chunks end there by themselves.
MOST_BETWEEN = 2
BETWEEN = 2048
_STRIDE = 512


@dataclass(slots=True)
class Snapshot:
    """A recurrent state from which a text goes on after a page border.

    Attributes:
        slot: Where the state is.
        n_pending: How many of the rows staged with it lie before the border, and are still to be taken in.
        hidden: The trunk's hidden state of the position before the border [D], where the model's head knew it.
    """

    slot: int
    n_pending: int
    hidden: Hidden | None


class Snapshots:
    """Snapshots by the identity that the memory has given to the text before their border.

    A prompt leaves one at the last page border before its end, and a few on the way there if it is long. A sequence
    that decodes leaves one at each border it passes, in place of its last: where it ends, the next turn of a
    conversation finds it. Where there is no slot left, the least recently used gives up its own.

    State: the slots it was given, which nobody else uses.
    """

    def __init__(self, slots: List[int], copy: Callable[[int, int], None]) -> None:
        """Take the slots to keep states in, and what copies one slot to another."""
        self._copy = copy
        self._n_slots = len(slots)
        self._free = list(slots)
        self._kept: OrderedDict[int, Snapshot] = OrderedDict()

    def __contains__(self, content: int) -> bool:
        return content in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def cut(self, sequence: Sequence, n: int) -> int:
        """Return how many of a prompt's next n rows to run, so that the step ends where a snapshot is wanted."""
        border = self._wanted(sequence)
        return border - sequence.n_cached if sequence.n_cached < border < sequence.n_cached + n else n

    def is_due(self, sequence: Sequence) -> bool:
        """Return whether a sequence whose step was just committed is to leave a snapshot."""
        border = sequence.n_full * PAGE
        if border <= sequence.n_kept or not self._n_slots or border < sequence.n_cached - sequence.n_pending:
            return False
        return _is_decoding(sequence) or border == self._wanted(sequence)

    def keep(self, sequence: Sequence, hidden: Hidden | None) -> None:
        """Take a snapshot at the last page border of a sequence for which one is due.

        Its slot must be as its last step left it.

        Args:
            sequence: Whose.
            hidden: The trunk's hidden state of the position before the border [D]; None if nobody knows it.
        """
        content, border = sequence.content, sequence.n_full * PAGE
        sequence.n_kept = border
        if is_decoding := _is_decoding(sequence):
            self.forget(sequence.trail)
            sequence.trail = 0
        known = self._kept.get(content)
        if known is not None:
            # Another sequence has come along the same text before.
            self._kept.move_to_end(content)
            known.hidden = hidden if known.hidden is None else known.hidden
            return
        if not self._free:
            self.forget(next(iter(self._kept)))
        slot = self._free.pop()
        self._copy(sequence.slot, slot)
        n_reached = sequence.n_cached - sequence.n_pending
        self._kept[content] = Snapshot(slot, border - n_reached, hidden)
        if is_decoding:
            sequence.trail = content

    def resume(self, sequence: Sequence) -> Hidden | None:
        """Give a sequence that was given the pages up to a snapshot its state; return the hidden state kept with it."""
        found = self._kept[sequence.content]
        self._kept.move_to_end(sequence.content)
        self._copy(found.slot, sequence.slot)
        sequence.n_pending, sequence.n_kept = found.n_pending, sequence.n_cached
        return found.hidden

    def forget(self, content: int) -> None:
        """Let go of the snapshot of a text, if there is one."""
        found = self._kept.pop(content, None)
        if found is not None:
            self._free.append(found.slot)

    def _wanted(self, sequence: Sequence) -> int:
        """Return the next border at which a sequence's prompt leaves a snapshot; 0 if there is none."""
        length, begin = len(sequence.tokens), sequence.n_kept
        last = (length - 1) // PAGE * PAGE
        if not self._n_slots or last - begin < LEAST_APART:
            return 0
        apart = max(BETWEEN, -(-length // ((MOST_BETWEEN + 1) * _STRIDE)) * _STRIDE)
        return begin + apart if last - begin >= apart + LEAST_APART else last


def _is_decoding(sequence: Sequence) -> bool:
    return len(sequence.tokens) - sequence.n_cached <= 1
