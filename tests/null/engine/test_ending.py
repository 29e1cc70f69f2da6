"""How a sequence ends: stop tokens, stop strings, length, cancelling, ^C, errors."""

import signal

import pytest
from tests.support.drafters import all_drafters
from tests.support.engines import N_VOCAB, engine, plain, sequence, write

from outpace.engine import loop
from outpace.engine.output import Output
from outpace.speculate import FixedDepth
from outpace.text.stops import StopStrings

PROMPT = [3, 1, 4, 1, 5]


class Letters:
    """A detokeniser of one character a token; token 7 is half of one."""

    def __init__(self):
        self.half = ""

    def push_token(self, token):
        if token == 7:
            self.half = "?"
            return ""
        text, self.half = self.half + chr(0x41 + token), ""
        return text

    def flush(self):
        return self.half


def letters(tokens) -> str:
    found = Letters()
    return "".join([found.push_token(token) for token in tokens]) + found.flush()


@pytest.mark.parametrize("name", all_drafters([]))
@pytest.mark.parametrize("at", range(4))
def test_a_stop_token_ends_wherever_it_stands_in_a_draft(name, at):
    text = plain(PROMPT, 40)
    written = text[len(PROMPT) :]
    stop_id = next(token for i, token in enumerate(written) if i >= 10 + at and written.index(token) == i)
    on = engine(policy=FixedDepth(4))
    found = sequence(PROMPT, 40, drafter=all_drafters(text)[name](), output=Output(stop_ids={stop_id}))
    for _ in loop.run(on, [found]):
        pass
    assert found.finish_reason == "stop"
    assert found.tokens == text[: len(PROMPT) + written.index(stop_id) + 1]
    assert len(found.sources) == len(found.tokens) - len(PROMPT)
    assert found.record.rounds + sum(found.record.accepted) >= len(found.sources) - 1
    assert on.memory.n_available == on.memory.n_pages
    # What ended early left nothing wrong in the cache.
    assert write([*found.tokens, 1], 20, on=on).tokens == plain([*found.tokens, 1], 20)


@pytest.mark.parametrize("name", all_drafters([]))
@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_stop_string_ends_and_is_cut_off(name, length):
    text = plain(PROMPT, 40)
    written = letters(text[len(PROMPT) :])
    stop = written[12 : 12 + length]
    output = Output(Letters(), StopStrings([stop]))
    found = sequence(PROMPT, 40, drafter=all_drafters(text)[name](), output=output)
    pieces = []
    for _ in loop.run(engine(), [found]):
        pieces.append(output.take())
    assert found.finish_reason == "stop"
    assert "".join(pieces) == written[: written.index(stop)]
    assert letters(found.tokens[len(PROMPT) :]).endswith(stop)


def test_what_was_held_back_comes_at_the_end():
    text = plain(PROMPT, 12)
    written = letters(text[len(PROMPT) :])
    output = Output(Letters(), StopStrings([written[-1] + "\0"]))
    found = sequence(PROMPT, 12, output=output)
    pieces = []
    for _ in loop.run(engine(), [found]):
        pieces.append(output.take())
    assert found.finish_reason == "length"
    assert "".join(pieces) == written


@pytest.mark.parametrize("n", [1, 2, 3, 7])
@pytest.mark.parametrize("name", all_drafters([]))
def test_length_is_exact(name, n):
    text = plain(PROMPT, 20)
    found = write(PROMPT, n, drafter=all_drafters(text)[name], on=engine(policy=FixedDepth(8)))
    assert found.tokens == text[: len(PROMPT) + n]
    assert found.finish_reason == "length"


def test_cancelling_gives_memory_back_and_leaves_the_others():
    on = engine()
    first, second, third = sequence(PROMPT, 50), sequence([1, 2], 50), sequence([5, 6], 50)
    for i, _ in enumerate(loop.run(on, [first, second, third])):
        if i == 5:
            on.cancel(second)
    on.cancel(first)
    assert [each.finish_reason for each in (first, second, third)] == ["length", "cancelled", "length"]
    assert first.tokens == plain(PROMPT, 50)
    assert second.tokens == plain([1, 2], 50)[: len(second.tokens)]
    assert len(second.tokens) < 20
    assert on.memory.n_available == on.memory.n_pages
    assert not on.has_work


def test_who_stops_reading_cancels():
    on = engine()
    found = sequence(PROMPT, 50)
    steps = loop.run(on, [found])
    for _ in range(3):
        next(steps)
    steps.close()
    assert found.finish_reason == "cancelled"
    assert on.memory.n_available == on.memory.n_pages
    assert not on.has_work


def test_interrupt_waits_for_the_step():
    on = engine()
    found = sequence(PROMPT, 50)
    inner = on.runner._run
    finished = []

    def run(step):
        if len(on.runner.executable.steps) == 4:
            signal.raise_signal(signal.SIGINT)
        result = inner(step)
        finished.append(True)
        return result

    on.runner._run = run
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        for _ in loop.run(on, [found]):
            pass
    assert signal.getsignal(signal.SIGINT) is before
    assert len(finished) == len(on.runner.executable.steps) == 5
    assert found.finish_reason == "cancelled"
    assert found.tokens == plain(PROMPT, 50)[: len(found.tokens)]
    assert len(found.tokens) == len(PROMPT) + 5
    assert write(PROMPT, 50, on=on).tokens == plain(PROMPT, 50)


def test_an_error_in_a_step_leaves_the_engine_whole():
    on = engine()
    bad, good = sequence(PROMPT, 50), sequence([1, 2], 50)
    inner, n_steps = on.runner._run, 0

    def run(step):
        nonlocal n_steps
        n_steps += 1
        if n_steps == 6:
            raise MemoryError
        return inner(step)

    on.runner._run = run
    with pytest.raises(MemoryError):
        for _ in loop.run(on, [bad, good]):
            pass
    assert {bad.finish_reason, good.finish_reason} == {"cancelled"}
    assert on.memory.n_available == on.memory.n_pages
    assert write(PROMPT, 50, on=on).tokens == plain(PROMPT, 50)


def test_vocabulary_is_used():
    assert len(set(plain(PROMPT, 200))) > N_VOCAB // 2
