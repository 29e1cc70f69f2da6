"""Pages: every one is free, held or idle; what is shared is the same text and is never written again."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from tests.support.engines import sequence

from outpace.engine.memory import Memory, pages_for
from outpace.graph.step import PAGE

N_PAGES = 7


class Pages(RuleBasedStateMachine):
    """Sequences over two texts and their branches, whose pages are written as an executable would."""

    def __init__(self):
        super().__init__()
        self.memory = Memory(N_PAGES)
        self.written = np.full((N_PAGES, PAGE), -1)
        self.has_row = np.zeros((N_PAGES, PAGE), bool)
        self.computed = {}
        self.held = []

    sequences = Bundle("sequences")

    @rule(
        target=sequences,
        n=st.integers(1, 4 * PAGE),
        text=st.integers(0, 1),
        branch=st.integers(0, 4 * PAGE),
        head=st.sampled_from([None, "a head"]),
    )
    def arrive(self, n, text, branch, head):
        tokens = [text] * min(n, branch) + [2] * max(0, n - branch)
        found = sequence(tokens, 4 * PAGE)
        found.head = head
        self.held.append(found)
        self.computed[found] = np.zeros(8 * PAGE, bool)
        return found

    @rule(each=sequences)
    def share(self, each):
        before = each.n_cached
        assert self.memory.share(each) == (each.n_cached > before)
        assert each.n_cached < max(len(each.tokens), before + 1)

    @rule(each=sequences, n=st.integers(1, 2 * PAGE), n_drafted=st.integers(0, 20))
    def run(self, each, n, n_drafted):
        n = min(n, len(each.tokens) - each.n_cached)
        n_available, n_pages = self.memory.n_available, each.n_pages
        needed = pages_for(each.n_cached + n + n_drafted) - n_pages
        assert self.memory.grow(each, each.n_cached + n + n_drafted) == (needed <= n_available)
        if needed > n_available:
            assert each.n_pages == n_pages
            return
        for i in range(n + n_drafted):
            position = each.n_cached + i
            page = each.pages[position // PAGE]
            assert [p for other in self.held for p in other.pages[: other.n_pages]].count(page) == 1
            assert self.memory._keys[page] is None
            self.written[page, position % PAGE] = each.tokens[position] if i < n else 99
            self.has_row[page, position % PAGE] = each.head is not None
            self.computed[each][position] = i < n
        self.memory.commit(each, n)

    def rows(self, each):
        """Which rows of a sequence the head has in its pages."""
        return self.has_row[each.pages[: each.n_pages]].ravel()

    @rule(each=sequences, end=st.integers(0, 8 * PAGE))
    def show(self, each, end):
        if each.head:
            lacking = np.flatnonzero(~self.rows(each)[: each.n_full * PAGE])
            self.memory.headed(each, lacking.max() + 1 if len(lacking) else 0, end)

    @rule(each=sequences)
    def look(self, each):
        first = self.memory.head_from(each)
        assert first % PAGE == 0
        assert self.rows(each)[first : each.n_full * PAGE].all()

    @rule(each=sequences, token=st.integers(0, 2))
    def write(self, each, token):
        if len(each.tokens) < each.most_tokens:
            each.tokens.append(token)

    @rule(each=sequences)
    def preempt(self, each):
        self.memory.drop(each)
        self.computed[each][:] = False
        assert each.n_cached == each.n_pages == 0

    @rule(each=consumes(sequences))
    def leave(self, each):
        self.memory.drop(each)
        self.held.remove(each)

    @invariant()
    def pages_are_accounted_for(self):
        memory = self.memory
        holders = np.zeros(N_PAGES, int)
        for each in self.held:
            np.add.at(holders, each.pages[: each.n_pages], 1)
        assert holders.tolist() == memory._holders
        free, idle, held = set(memory._free), set(memory._idle), set(np.flatnonzero(holders))
        assert len(memory._free) == len(free)
        assert free | idle | held == set(range(N_PAGES))
        assert len(free) + len(idle) + len(held) == N_PAGES
        keyed = {page for page, key in enumerate(memory._keys) if key is not None}
        assert idle <= keyed
        assert not keyed & free
        assert memory._pages == {memory._keys[page]: page for page in keyed}

    @invariant()
    def a_spare_page_may_be_written(self):
        page = self.memory.spare()
        assert (page is None) == (not self.memory._free)
        if page is not None:
            self.written[page], self.has_row[page] = -2, False

    @invariant()
    def the_head_finds_its_rows(self):
        for each in self.held:
            if each.head:
                rows = self.rows(each)
                assert rows[self.computed[each][: len(rows)]].all()

    @invariant()
    def the_cache_holds_each_text(self):
        for each in self.held:
            for position in range(each.n_cached):
                assert self.written[each.pages[position // PAGE], position % PAGE] == each.tokens[position]


Pages.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
test_pages = Pages.TestCase


def test_the_least_recently_used_goes_first_and_ends_before_beginnings():
    memory = Memory(4)
    old, new = sequence([0] * 128, 1), sequence([1] * 128, 1)
    for each in (old, new):
        memory.grow(each, 128)
        memory.commit(each, 128)
        memory.drop(each)
    other = sequence([2] * 64, 1)
    memory.grow(other, 64)
    again = sequence([0] * 128 + [5], 1)
    memory.share(again)
    assert again.n_cached == 64
    newest = sequence([1] * 128 + [5], 1)
    memory.share(newest)
    assert newest.n_cached == 128


def test_two_that_computed_the_same_hold_one_page():
    memory = Memory(4)
    both = [sequence([0] * 64, 9) for _ in range(2)]
    for each in both:
        memory.grow(each, 64)
    for each in both:
        memory.commit(each, 64)
    assert both[0].pages[0] == both[1].pages[0]
    assert memory.n_available == 3


def filled(memory, tokens, head=None):
    """A sequence whose tokens are all in the cache."""
    found = sequence(tokens, 1)
    found.head = head
    memory.grow(found, len(tokens))
    memory.commit(found, len(tokens))
    return found


def test_a_head_keeps_the_pages_that_it_wrote():
    memory = Memory(12)
    without, first = filled(memory, [0] * 256), filled(memory, [0] * 256, "a head")
    assert not set(without.pages[:4]) & set(first.pages[:4])
    memory.headed(first, 0, 256)
    second = filled(memory, [0] * 256, "a head")
    # What is known to hold its rows is as good as its own.
    assert second.pages[:4] == first.pages[:4]
    assert memory.head_from(second) == memory.head_from(first) == 0
    memory.drop(without)
    assert memory.n_available == 8


def test_a_page_given_to_another_text_holds_no_rows_of_the_head():
    memory = Memory(4)
    first = filled(memory, [0] * 256, "a head")
    memory.headed(first, 0, 256)
    memory.drop(first)
    assert memory.head_from(filled(memory, [1] * 256)) == 256
