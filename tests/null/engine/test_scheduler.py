"""Who runs: arrival counts, decoding goes first, nobody starves, memory is promised once."""

from tests.support.engines import plain, sequence, write

from outpace.engine.memory import Memory
from outpace.engine.scheduler import Scheduler


def test_decoding_goes_first_and_prompts_fill_the_step():
    scheduler = Scheduler(Memory(20), max_rows=10, max_running=4)
    decoding, long, late = sequence([1] * 4, 9), sequence([2] * 30, 9), sequence([3] * 5, 9)
    scheduler.add(decoding)
    assert scheduler.next() == [(decoding, 4, True)]
    scheduler.memory.commit(decoding, 4)
    decoding.tokens.append(1)
    scheduler.add(long)
    scheduler.add(late)
    assert scheduler.next() == [(decoding, 1, True), (long, 9, False)]
    scheduler.memory.commit(long, 27)
    assert scheduler.next() == [(decoding, 1, True), (long, 3, True), (late, 5, True)]


def test_no_more_run_than_may():
    scheduler = Scheduler(Memory(20), max_rows=10, max_running=2)
    for _ in range(3):
        scheduler.add(sequence([1], 9))
    assert len(scheduler.next()) == 2
    assert len(scheduler.waiting) == 1


def test_who_would_not_fit_waits_and_keeps_the_order():
    scheduler = Scheduler(Memory(4), max_rows=64, max_running=4)
    first, big, small = sequence([1] * 64, 9), sequence([2] * 180, 9), sequence([3], 9)
    for each in (first, big, small):
        scheduler.add(each)
    assert [who for who, _, _ in scheduler.next()] == [first]
    assert list(scheduler.waiting) == [big, small]
    assert scheduler.memory.n_available == 3
    scheduler.remove(first)
    assert [who for who, _, _ in scheduler.next()] == [big]


def test_who_gives_way_has_no_turn_left():
    scheduler = Scheduler(Memory(3), max_rows=64, max_running=4)
    early, late = sequence([1] * 180, 9), sequence([2], 9)
    scheduler.running += [early, late]
    scheduler.memory.grow(early, 128)
    scheduler.memory.commit(early, 128)
    assert [who for who, _, _ in scheduler.next()] == [early]
    assert list(scheduler.waiting) == [late]
    assert late.n_pages == late.n_cached == 0
    assert scheduler.n_preempted == 1


def test_one_alone_may_use_every_page():
    found = write(list(range(50)), 14)
    assert found.tokens == plain(range(50), 14)
