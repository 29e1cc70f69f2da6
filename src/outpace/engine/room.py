"""What a run would hold with other contexts and KV types, and the longest context that a memory has room for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from outpace.backends.backend import Limits, MemoryPlan
from outpace.engine.memory import pages_for
from outpace.engine.resolve import Settings, sized_for
from outpace.graph.step import PAGE

# Contexts that a table shows beside the longest one that the model was trained for.
CONTEXTS = (4096, 16384, 65536, 131072, 262144)


class Room:
    """The memory of a settled run whose context and KV type vary.

    Every one of its parallel sequences has room for the whole context. Recurrent states are those that are settled.
    """

    def __init__(self, settings: Settings, memory: Callable[[Limits], MemoryPlan]) -> None:
        """Take what is settled, and what tells the memory of limits."""
        self._settings, self._memory = settings, memory

    def bytes_of(self, context: int, kv_type: str) -> int:
        """Return the bytes that a run of this context would hold, the interpreter left out."""
        limits = replace(self._settings.limits, kv_type=kv_type)
        return self._memory(sized_for(limits, context, self._settings.parallel)).total_bytes

    def longest(self, most: int, kv_type: str, available_bytes: int) -> int:
        """Return the largest context up to `most` that fits, in whole pages where it is less; 0 if none does."""
        low, high = 1, pages_for(most)
        taken = self.bytes_of(PAGE, kv_type), self.bytes_of(most, kv_type)
        if taken[1] <= available_bytes:
            return most
        if taken[0] > available_bytes:
            return 0
        # All but a little of it grows evenly with the context, so the place can be told from both ends.
        while high - low > 1:
            share = (available_bytes - taken[0]) / (taken[1] - taken[0])
            middle = min(max(low + int(share * (high - low)), low + 1), high - 1)
            found = self.bytes_of(middle * PAGE, kv_type)
            if found <= available_bytes:
                low, taken = middle, (found, taken[1])
            else:
                high, taken = middle, (taken[0], found)
        return low * PAGE


def contexts(n_ctx_train: int) -> tuple[int, ...]:
    """Return the contexts that a table shows of a model trained for `n_ctx_train`."""
    return *(n for n in CONTEXTS if n < n_ctx_train), n_ctx_train
