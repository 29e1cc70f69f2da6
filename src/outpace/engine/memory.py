"""Pages of KV memory: who holds which, which full ones can be shared, which may be dropped."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from outpace.engine.sequence import Sequence
from outpace.engine.snapshots import Snapshots
from outpace.graph.step import PAGE, Hidden

# Identity of the text up to the end of a page's predecessor, and the page's own tokens: equal only for equal text,
# because an identity is given out once. The empty text is 0.
_Key: TypeAlias = tuple[int, tuple[int, ...]]


def pages_for(n_positions: int) -> int:
    """Return how many pages hold that many positions."""
    return -(-n_positions // PAGE)


class Memory:
    """The pages of one executable.

    A page is free (holds nothing), held (by one sequence or, if full, by several), or idle: full, held by nobody,
    kept for a sequence that begins with the same text until its room is needed. Idle pages go least recently used
    first. Only positions that are never written again are shared: pages full of committed tokens. Where sequences carry
    recurrent states as well, pages alone are no use to another: they are shared up to a border with a snapshot.

    A page also holds what a speculator (the model's head, say) computed of its positions, where one has come by. To go
    on after such a page a head needs the trunk's hidden state of its last position: where no snapshot has it, the page
    does.
    """

    def __init__(self, n_pages: int, snapshots: Snapshots | None = None, *, keeps_heads: bool = True) -> None:
        """Begin with every page free.

        Args:
            n_pages: How many there are.
            snapshots: The recurrent states that are kept, where sequences carry some.
            keeps_heads: Whether what drafts has rows in the pages.
        """
        self._keeps_heads = keeps_heads
        self.n_pages = n_pages
        self.snapshots = snapshots
        self._free = list(range(n_pages - 1, -1, -1))
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._holders = [0] * n_pages
        self._keys: list[_Key | None] = [None] * n_pages
        self._contents = [0] * n_pages
        self._has_head = bytearray(n_pages)
        self._ends: dict[int, Hidden] = {}
        self._pages: dict[_Key, int] = {}
        self._last_content = 0

    @property
    def n_available(self) -> int:
        """Pages that can be had now: free and idle ones."""
        return len(self._free) + len(self._idle)

    def spare(self) -> int | None:
        """Return a page that holds nothing and that nobody has, without giving it away; None if there is none."""
        return self._free[-1] if self._free else None

    def grow(self, sequence: Sequence, n_positions: int) -> bool:
        """Give a sequence the pages for so many positions; give none and return False if there are too few."""
        needed = -(-n_positions // PAGE)
        held = sequence.n_pages
        if needed <= held:
            return True
        if needed - held > self.n_available:
            return False
        for i in range(held, needed):
            sequence.pages[i] = self._take()
        sequence.n_pages = needed
        return True

    def fit(self, sequence: Sequence, n: int) -> int:
        """Give a sequence the pages for n guesses after its tokens, or for as many as there are; return how many."""
        length = len(sequence.tokens)
        if n > 0 and length + n > sequence.n_pages * PAGE:
            n = min(n, (sequence.n_pages + self.n_available) * PAGE - length)
            self.grow(sequence, length + n)
        return n

    def share(self, sequence: Sequence) -> bool:
        """Give a sequence the pages that already hold the text it would compute next; return whether there were any.

        At least its last token is left to be computed, for the logits. Where sequences carry recurrent states, the one
        at its new position is still to be given to it.
        """
        if sequence.n_cached != sequence.n_pages * PAGE:
            return False
        pages = self._known(sequence)
        for page in pages:
            self._hold(page)
            sequence.pages[sequence.n_pages] = page
            sequence.n_pages += 1
            sequence.content = self._contents[page]
        sequence.n_full = sequence.n_pages
        sequence.n_cached += len(pages) * PAGE
        sequence.n_shared += len(pages) * PAGE
        return bool(pages)

    def _known(self, sequence: Sequence) -> list[int]:
        """Return the pages of the text a sequence would compute next, up to where one can go on."""
        tokens, content, snapshots = sequence.tokens, sequence.content, self.snapshots
        found: list[int] = []
        n = 0
        for start in range(sequence.n_cached, len(tokens) - PAGE, PAGE):
            page = self._pages.get((content, tuple(tokens[start : start + PAGE])))
            if page is None:
                break
            found.append(page)
            content = self._contents[page]
            if snapshots is None or content in snapshots:
                n = len(found)
        return found[:n]

    def commit(self, sequence: Sequence, n: int) -> None:
        """Keep `n` more positions of a sequence; pages they fill can be shared from now on."""
        sequence.n_cached += n
        while (sequence.n_full + 1) * PAGE <= sequence.n_cached:
            self._fill(sequence)

    def drop(self, sequence: Sequence) -> None:
        """Take all pages from a sequence; full ones become idle, the end of the text going first."""
        for i in range(sequence.n_pages - 1, -1, -1):
            self._release(int(sequence.pages[i]))
        sequence.n_pages = sequence.n_full = sequence.content = 0
        sequence.n_cached = sequence.n_pending = sequence.n_kept = 0

    def headed(
        self, sequence: Sequence, first: int, end: int, ends: Mapping[int, Hidden] = MappingProxyType({})
    ) -> None:
        """Note that a sequence's full pages from position `first` up to `end` hold all of the head's rows.

        Args:
            sequence: Whose pages.
            first: A page border.
            end: A position; pages that go on after it are left out.
            ends: The trunk's hidden states [D] of the positions before some page borders.
        """
        for page in sequence.pages[first // PAGE : min(sequence.n_full, end // PAGE)]:
            self._has_head[page] = True
        for border, hidden in ends.items():
            self._ends[sequence.pages[border // PAGE - 1]] = hidden

    def end_of(self, sequence: Sequence) -> Hidden | None:
        """Return the trunk's hidden state [D] of the last position in a sequence's full pages, where it was kept."""
        return self._ends.get(sequence.pages[sequence.n_full - 1]) if sequence.n_full else None

    def head_from(self, sequence: Sequence) -> int:
        """Return the first page border from which on a sequence's full pages hold the head's rows too."""
        i = sequence.n_full
        while i and self._has_head[sequence.pages[i - 1]]:
            i -= 1
        return i * PAGE

    def head_to(self, sequence: Sequence) -> int:
        """Return the position up to which, from the front on, a sequence's full pages hold the head's rows too."""
        for i in range(sequence.n_full):
            if not self._has_head[sequence.pages[i]]:
                return i * PAGE
        return sequence.n_full * PAGE

    def is_headed(self, sequence: Sequence) -> bool:
        """Return whether the last of a sequence's full pages holds the head's rows; so where it has none."""
        return not sequence.n_full or bool(self._has_head[sequence.pages[sequence.n_full - 1]])

    def _fill(self, sequence: Sequence) -> None:
        i = sequence.n_full
        page = int(sequence.pages[i])
        key = (sequence.content, tuple(sequence.tokens[i * PAGE : (i + 1) * PAGE]))
        known = self._pages.get(key)
        if known is None:
            self._last_content += 1
            self._pages[key], self._keys[page], self._contents[page] = page, key, self._last_content
        elif self._keeps_heads and sequence.head is not None and not self._has_head[known]:
            # Another has computed the same, but this one's head has its rows here and may have none there.
            self._pages[key], self._keys[page], self._contents[page] = page, key, self._contents[known]
            self._keys[known] = None
            if not self._holders[known]:
                del self._idle[known]
                self._free.append(known)
        else:
            # Another sequence has computed the same: hold its page instead of a copy.
            self._hold(known)
            self._release(page)
            sequence.pages[i] = page = known
        sequence.n_full = i + 1
        sequence.content = self._contents[page]

    def _take(self) -> int:
        if self._free:
            page = self._free.pop()
        else:
            page, _ = self._idle.popitem(last=False)
            key = self._keys[page]
            assert key is not None
            del self._pages[key]
            self._keys[page] = None
            if self.snapshots is not None:
                # The identity of its text goes with it.
                self.snapshots.forget(self._contents[page])
        self._holders[page] = 1
        self._has_head[page] = False
        self._ends.pop(page, None)
        return page

    def _hold(self, page: int) -> None:
        if self._holders[page] == 0:
            del self._idle[page]
        self._holders[page] += 1

    def _release(self, page: int) -> None:
        self._holders[page] -= 1
        if self._holders[page]:
            return
        if self._keys[page] is None:
            self._free.append(page)
        else:
            self._idle[page] = None
