"""P1 on a toy model: drafter, depth, chunking, company, sharing and preemption change no token."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.drafters import all_drafters, every_count
from tests.support.engines import GREEDY, N_VOCAB, engine, plain, sequence, write

from outpace.engine import loop
from outpace.sampling.params import SamplingParams
from outpace.speculate import AutoDepth, Draft, FixedDepth, NoDrafter, StepCosts, SuffixDrafter

PARAMS = {
    "greedy": GREEDY,
    "0.8": SamplingParams(temperature=0.8, seed=3),
    "1.2": SamplingParams(temperature=1.2, top_k=0, top_p=1.0, min_p=0.0, seed=4),
    "penalties": SamplingParams(temperature=0.8, seed=5, repeat_penalty=1.5, presence_penalty=0.7, repeat_last_n=9),
    "all of it": SamplingParams(temperature=1.0, frequency_penalty=0.9, repeat_last_n=-1, logit_bias=((3, 1.0),)),
}
PROMPT = [7, 8, 9, 10] * 6 + [1, 2, 3]


@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
@pytest.mark.parametrize("name", all_drafters([]))
@pytest.mark.parametrize("depth", [1, 4, 8])
def test_any_drafter_writes_what_none_does(params, name, depth):
    # A small order makes the toy repeat itself, so that copying is right at times.
    text = plain(PROMPT, 60, params, order=2, sharp=6.0)
    drafter = all_drafters(text)[name]
    drafted = write(PROMPT, 60, params, drafter, on=engine(order=2, sharp=6.0, policy=FixedDepth(depth)))
    assert drafted.tokens == text
    assert drafted.finish_reason == "length"
    assert len(drafted.sources) == 60
    record = drafted.record
    assert record.rounds + sum(record.accepted) == 59
    if name == "oracle":
        assert sum(record.accepted) == sum(record.drafted) >= 29
    if name == "wrong":
        assert sum(record.accepted) == 0 < sum(record.drafted)
    if name == "every_count" and depth == 4:
        # Every acceptance count from 0 to 4 has occurred: some rounds kept exactly n.
        counts = [*record.accepted, 0]
        assert all(counts[n] > counts[n + 1] for n in range(4))


@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
def test_automatic_depth_writes_what_none_does(params):
    text = plain(PROMPT, 150, params, order=1)
    policy = AutoDepth(StepCosts({1: 1.0, 2: 1.0, 4: 1.1, 8: 1.3, 16: 2.0}), 16)
    drafted = write(PROMPT, 150, params, SuffixDrafter, on=engine(order=1, policy=policy))
    assert drafted.tokens == text


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, N_VOCAB - 1), min_size=1, max_size=200), st.integers(1, 96), st.integers(0, 6))
def test_any_chunking_writes_what_the_whole_does(prompt, max_rows, depth):
    whole = plain(prompt, 8, max_rows=256)
    cut = engine(max_rows=max_rows, max_running=1, policy=FixedDepth(depth))
    assert write(prompt, 8, drafter=SuffixDrafter, on=cut).tokens == whole
    assert max(len(step.tokens) for step in cut.runner.executable.steps) <= max_rows


def test_only_rows_that_choose_are_wanted():
    on = engine(max_rows=10)
    write(list(range(25)), 3, on=on)
    steps = on.runner.executable.steps
    assert [len(step.tokens) for step in steps] == [10, 10, 5, 1, 1]
    assert [list(step.wanted) for step in steps] == [[], [], [4], [0], [0]]
    assert [step.segments[0].start for step in steps] == [0, 10, 20, 25, 26]


@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
@pytest.mark.parametrize("drafter", [NoDrafter, SuffixDrafter])
def test_a_batch_writes_what_each_writes_alone(params, drafter):
    random = np.random.default_rng(0)
    prompts = [random.integers(0, N_VOCAB, n).tolist() for n in (5, 150, 1, 70, 64, 33)]
    alone = [plain(prompt, 30, params) for prompt in prompts]
    on = engine(max_running=4)
    together = [sequence(prompt, 30, params, drafter()) for prompt in prompts]
    for _ in loop.run(on, together):
        pass
    assert [each.tokens for each in together] == alone
    assert max(len(step.segments) for step in on.runner.executable.steps) == 4
    assert on.memory.n_available == on.memory.n_pages


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 150), st.integers(1, 80)), min_size=2, max_size=7), st.integers(4, 9))
def test_preemption_changes_no_token(shapes, n_pages):
    random = np.random.default_rng(len(shapes))
    prompts = [random.integers(0, N_VOCAB, n).tolist() for n, _ in shapes]
    alone = [plain(p, n) for p, (_, n) in zip(prompts, shapes, strict=True)]
    on = engine(n_pages=n_pages, max_running=8)
    together = [sequence(p, n, drafter=every_count(t)) for p, (_, n), t in zip(prompts, shapes, alone, strict=True)]
    for _ in loop.run(on, together):
        pass
    assert [each.tokens for each in together] == alone
    assert on.memory.n_available == n_pages


def test_preemption_happens_and_the_latest_gives_way():
    on = engine(n_pages=4, max_running=3)
    first, second = sequence(list(range(60)), 130), sequence(list(range(60, 0, -1)), 130)
    order = []
    for _ in loop.run(on, [first, second]):
        order += [each for each in (first, second) if each.finish_reason and each not in order]
    assert on.scheduler.n_preempted > 0
    assert order == [first, second]
    assert second.tokens == plain(range(60, 0, -1), 130)


def test_prefix_hits_equal_misses_and_save_rows():
    prompt = np.random.default_rng(1).integers(0, N_VOCAB, 200).tolist()
    on = engine()
    first = write(prompt, 20, on=on)
    n_steps = len(on.runner.executable.steps)
    second = write(prompt, 20, on=on)
    assert second.tokens == first.tokens
    assert (first.n_shared, second.n_shared) == (0, 192)
    assert len(on.runner.executable.steps[n_steps].tokens) == 8
    # A conversation goes on: what was written is found too.
    third = write([*first.tokens, 1, 2, 3, 4], 20, on=on)
    assert third.n_shared == 192
    assert third.tokens == plain([*first.tokens, 1, 2, 3, 4], 20)


def test_a_prompt_of_whole_pages_leaves_a_row_to_compute():
    prompt = np.random.default_rng(1).integers(0, N_VOCAB, 128).tolist()
    on = engine()
    first, second = write(prompt, 5, on=on), write(prompt, 5, on=on)
    assert second.n_shared == 64
    assert second.tokens == first.tokens


def test_prompts_that_arrive_together_share_what_the_first_computes():
    common = np.random.default_rng(1).integers(0, N_VOCAB, 192).tolist()
    prompts = [[*common, i] for i in range(3)]
    on = engine(max_rows=96)
    together = [sequence(prompt, 10) for prompt in prompts]
    for _ in loop.run(on, together):
        pass
    assert [each.tokens for each in together] == [plain(prompt, 10) for prompt in prompts]
    assert [each.n_shared for each in together] == [0, 192, 192]


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 150), st.integers(1, 60))
def test_commit_then_continue_equals_a_fresh_run(n_prompt, n_before):
    prompt = np.random.default_rng(n_prompt).integers(0, N_VOCAB, n_prompt).tolist()
    on = engine()
    whole = plain(prompt, n_before + 20)
    before = write(prompt, n_before, drafter=lambda: every_count(whole), on=on)
    assert write(before.tokens, 20, on=on).tokens == whole


def test_logprobs_are_those_of_plain_decoding():
    params = SamplingParams(temperature=0.9, logprobs=3, seed=2)
    alone = write(PROMPT, 40, params)
    drafted = write(PROMPT, 40, params, lambda: every_count(alone.tokens))
    assert alone.choices == drafted.choices
    assert [choice.token for choice in alone.choices] == alone.tokens[alone.n_prompt :]


def test_sources_tell_who_guessed():
    text = plain(PROMPT, 40)
    drafted = write(PROMPT, 40, drafter=lambda: every_count(text))
    assert drafted.sources.count("every_count") == sum(drafted.record.accepted) > 0
    assert set(drafted.sources) == {"", "every_count"}


def test_drafts_take_only_memory_that_is_free():
    class Eager:
        name = "eager"

        def propose(self, tokens, max_n):
            return Draft([0] * max_n, [0.5] * max_n)

        def observe(self, kept, hidden=None):
            pass

    on = engine(n_pages=2, policy=FixedDepth(16), max_wanted=24)
    both = [sequence(list(range(n)), 64 - n, drafter=Eager()) for n in (50, 40)]
    for _ in loop.run(on, both):
        pass
    assert on.scheduler.n_preempted == 0
    assert [each.tokens for each in both] == [plain(range(n), 64 - n) for n in (50, 40)]
