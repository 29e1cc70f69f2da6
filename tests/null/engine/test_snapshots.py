"""Prefix reuse with recurrent states: a hit gives the bits of a miss, and no more is kept than there is room for."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from bench.random_hybrid import write_random_hybrid
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import engines
from tests.support.recorder import Recorder

from outpace.backends.reference import ReferenceBackend
from outpace.engine import snapshots
from outpace.engine.engine import Engine
from outpace.engine.memory import Memory
from outpace.engine.scheduler import Scheduler
from outpace.engine.snapshots import Snapshots
from outpace.graph.step import PAGE
from outpace.llm import LLM
from outpace.speculate import FixedDepth

N_VOCAB = 128
SIZES = {"d_model": 32, "d_ff": 48, "head_dim": 16, "delta_dim": 8, "vocab": N_VOCAB, "n_layers": 2, "interval": 2}
GREEDY = {"temperature": 0.0}
SAMPLED = {"temperature": 0.8, "seed": 3}
PENALISED = {"temperature": 0.7, "seed": 4, "repeat_penalty": 1.3, "presence_penalty": 0.5, "repeat_last_n": 16}
# Who drafts, and how deep.
DRAFTERS = [("none", 0), ("suffix", 4), ("mtp", 1), ("mtp", 3), ("mtp", 8), ("suffix+mtp", 5)]


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("hybrids")
    return {
        name: write_random_hybrid(folder / name, type="F32", mtp_aligned=aligned, context=4096, rope_base=1e4, **SIZES)
        for name, aligned in (("random", None), ("aligned", 0.7))
    }


@pytest.fixture(scope="module")
def path(paths) -> Path:
    return paths["aligned"]


class Desk:
    """A model that keeps the logits of every position it was last asked about."""

    def __init__(self, path: Path, drafter=("none", 0), **options):
        self.policy = Recorder(drafter[1])
        options = {"context": 1024} | options
        self.llm = LLM(path, backend=lambda _: ReferenceBackend(), policy=self.policy, spec_type=drafter[0], **options)
        self.engine = self.llm._engine
        self.logits: dict[int, np.ndarray] = {}
        run = self.engine.runner._run

        def recorded(step):
            result = run(step)
            positions = [s.start + i for s in step.segments for i in range(s.n_rows)]
            for i, row in enumerate(step.wanted):
                self.logits[positions[row]] = result.logits[i].copy()
            return result

        self.engine.runner._run = recorded

    def ask(self, prompt, n=40, **options):
        """Return the sequence of a prompt, run to its end."""
        self.logits.clear()
        self.policy.drafts.clear()
        stream = self.llm.stream(prompt_tokens=prompt, max_tokens=n, ignore_eos=True, **(GREEDY | options))
        stream.finish()
        found = stream._sequences
        self.check()
        return found[0] if len(found) == 1 else found

    def check(self):
        """Every slot for a kept state is free or holds one, at the border of a text that the memory knows."""
        kept, memory = self.engine.snapshots, self.engine.memory
        n_running, n_slots = self.engine.scheduler.max_running, self.engine.runner.executable.limits.n_slots
        slots = [each.slot for each in kept._kept.values()]
        assert sorted(slots + kept._free) == list(range(n_running, n_slots))
        page_of = {memory._contents[page]: key for key, page in memory._pages.items()}
        for content, each in kept._kept.items():
            n_known, n_staged = self.engine.runner.executable._state._reached[each.slot]
            assert content in page_of
            length, at = 0, content
            while at in page_of:
                length, at = length + PAGE, page_of[at][0]
            # Where a page further to the front is gone, nobody gets here any more.
            assert at != 0 or n_known + each.n_pending == length
            assert 0 <= each.n_pending <= n_staged


def text(n: int, seed: int) -> list[int]:
    """A text that repeats itself at times, so that copying is right at times."""
    random = np.random.default_rng(seed)
    pieces = [random.integers(0, N_VOCAB, 12).tolist() for _ in range(5)]
    return [token for i in random.integers(0, 5, n) for token in pieces[i]][:n]


def same(found, desk, fresh, expected, begin):
    """The same tokens, and the same bits of every row that chose one of them."""
    assert found.tokens == expected.tokens
    for position in range(max(begin, found.n_prompt - 1), len(found.tokens) - 1):
        assert np.array_equal(desk.logits[position], fresh.logits[position]), position


@pytest.mark.parametrize("drafter", DRAFTERS, ids=lambda drafter: f"{drafter[0]}-{drafter[1]}")
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED, PENALISED], ids=["greedy", "sampled", "penalties"])
@pytest.mark.parametrize("name", ["random", "aligned"])
def test_a_hit_gives_the_bits_of_a_miss(paths, name, drafter, sampling):
    path = paths[name]
    common = text(330, 1)
    desk, fresh = Desk(path, drafter), Desk(path, drafter)
    first = desk.ask(common + text(10, 2), **sampling)
    assert first.n_shared == 0
    prompt = common + text(70, 3)
    found, expected = desk.ask(prompt, **sampling), fresh.ask(prompt, **sampling)
    assert (found.n_shared, expected.n_shared) == (320, 0)
    same(found, desk, fresh, expected, 320)
    # The head sees the same, so it drafts the same.
    assert desk.policy.drafts == fresh.policy.drafts
    assert found.tokens == Desk(path).ask(prompt, **sampling).tokens


@pytest.mark.parametrize("drafter", DRAFTERS, ids=lambda drafter: f"{drafter[0]}-{drafter[1]}")
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_a_conversation_goes_on_where_its_last_turn_ended(path, drafter, sampling):
    desk, prompt, written = Desk(path, drafter), text(150, 4), 1
    for turn, n in enumerate((101, 27, 140, 66)):
        found, fresh = desk.ask(prompt, n, **sampling), Desk(path, drafter)
        same(found, desk, fresh, fresh.ask(prompt, n, **sampling), 0)
        # All of the turn before but its last token, which no step has read, and what does not fill a page. A short turn
        # after a short question may pass no border.
        border = (written - 1) // PAGE * PAGE
        assert found.n_shared == (border if turn != 2 else 192)
        written = len(found.tokens)
        prompt = found.tokens + text(30, turn)


def test_the_head_begins_where_nobody_kept_its_rows(path):
    common = text(330, 1)
    desk, fresh = Desk(path, ("mtp", 3)), Desk(path, ("mtp", 3))
    desk.ask(common, drafter="none")
    found, expected = desk.ask(common + text(9, 2), 260), fresh.ask(common + text(9, 2), 260)
    assert found.n_shared == 320
    same(found, desk, fresh, expected, 320)
    assert (found.head.first, expected.head.first) == (320, 0)
    assert found.record.rounds - found.record.drafted[0] <= 1
    assert sum(found.record.accepted) > 0


def test_pages_with_the_heads_rows_take_the_place_of_those_without(paths):
    path = paths["random"]
    common = text(200, 1)
    desk = Desk(path, ("mtp", 3))
    desk.ask(common, 1, drafter="none")
    assert desk.ask(common, 130).n_shared == 0
    prompt = desk.ask(common, 130).tokens + text(40, 2)
    found, fresh = desk.ask(prompt), Desk(path, ("mtp", 3))
    expected = fresh.ask(prompt)
    assert (found.n_shared, found.head.first) == (320, 0)
    assert desk.policy.drafts == fresh.policy.drafts
    same(found, desk, fresh, expected, 0)


def test_a_long_answer_keeps_one(path):
    desk = Desk(path, ("mtp", 3))
    found = desk.ask(text(70, 1), 500)
    assert len(desk.engine.snapshots) == 1
    assert desk.ask([*found.tokens, 1], 1).n_shared == 512


def test_the_least_recently_used_gives_way(path):
    desk = Desk(path, context=2048)
    prompts = [text(300, seed) for seed in range(10, 16)]
    for prompt in prompts:
        desk.ask(prompt, 1)
    assert len(desk.engine.snapshots) == 4
    assert desk.ask(prompts[2], 1).n_shared == 256
    assert desk.ask(text(300, 20), 1).n_shared == 0
    assert [desk.ask(prompts[i], 1).n_shared for i in (2, 5, 4)] == [256, 256, 256]
    assert desk.ask(prompts[3], 1).n_shared == 0


def test_without_room_nothing_is_kept(path):
    desk = Desk(path, ("suffix", 4))
    executable, prompt = desk.engine.runner.executable, text(300, 1)
    # As many may run as there are slots.
    desk.llm._engine = Engine(executable, FixedDepth(4), executable.limits.n_slots, is_recurrent=True)
    streams = [desk.llm.stream(prompt_tokens=prompt, max_tokens=30, **GREEDY) for _ in range(2)]
    assert streams[0].finish().tokens == streams[1].finish().tokens
    assert [stream._sequences[0].n_shared for stream in streams] == [0, 0]
    assert not len(desk.llm._engine.snapshots)


def test_a_snapshot_goes_with_the_page_before_it(path):
    desk = Desk(path, context=384)
    prompt = text(300, 1)
    desk.ask(prompt, 1)
    assert desk.ask(prompt, 1).n_shared == 256
    for seed in (2, 3):
        # Takes all of the pages.
        desk.ask(text(380, seed), 3)
    assert desk.ask(prompt, 1).n_shared == 0


def test_prompts_that_arrive_together_share_what_the_first_computes(path):
    common = text(520, 1)
    desk = Desk(path, ("mtp", 3), parallel=3, context=640)
    prompts = [common + text(20 + i, i) for i in range(3)]
    found = desk.ask(prompts, 30)
    assert [each.n_shared for each in found] == [0, 512, 512]
    assert [each.tokens for each in found] == [Desk(path).ask(prompt, 30).tokens for prompt in prompts]


def test_who_gives_way_goes_on_from_a_snapshot(path):
    common = text(300, 1)
    prompts = [common + text(9, seed) for seed in (1, 2, 3)]
    desk = Desk(path, ("mtp", 3), parallel=3, context=640)
    # Room for the common pages and few more: not for all of them at their full length.
    taken = [desk.engine.memory._take() for _ in range(17)]
    found = desk.ask(prompts, 200)
    assert desk.engine.scheduler.n_preempted > 0
    assert taken
    # Whoever came back found its prompt, and what it had written by then, too.
    assert max(each.n_shared for each in found) > 2 * 256
    assert [each.tokens for each in found] == [Desk(path).ask(prompt, 200).tokens for prompt in prompts]


@lru_cache(maxsize=500)
def plain(path: Path, prompt: tuple[int, ...], n: int) -> list[int]:
    return Desk(path).ask(list(prompt), n, **SAMPLED).tokens


# A prompt is a walk down a tree: at each fork one of two texts, of a length that is the same for all.
LENGTHS = (70, 130, 64, 30, 100)
walks = st.lists(st.integers(0, 1), min_size=1, max_size=5)


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.lists(st.tuples(walks, st.sampled_from([1, 40, 90])), min_size=1, max_size=3), min_size=2, max_size=5),
    st.sampled_from(DRAFTERS),
    st.integers(10, 16),
)
def test_prompts_that_share_beginnings_write_what_each_writes_alone(path, rounds, drafter, n_pages):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshots, "LEAST_APART", PAGE)
        patch.setattr(snapshots, "BETWEEN", 2 * PAGE)
        desk = Desk(path, drafter, context=640, parallel=2)
        taken = [desk.engine.memory._take() for _ in range(20 - n_pages)]
        assert len(taken) == 20 - n_pages
        for group in rounds:
            prompts = [
                [token for i, way in enumerate(walk) for token in text(LENGTHS[i], 2 * i + way)] for walk, _ in group
            ]
            streams = [
                desk.llm.stream(prompt_tokens=prompt, max_tokens=n, ignore_eos=True, **SAMPLED)
                for prompt, (_, n) in zip(prompts, group, strict=True)
            ]
            together = [each for stream in streams for each in stream._sequences]
            for _ in engines.loop.run(desk.engine, together):
                desk.check()
            for each, prompt, (_, n) in zip(together, prompts, group, strict=True):
                assert each.tokens == plain(path, tuple(prompt), n)


@pytest.mark.parametrize(("n", "max_rows"), [(100, 512), (330, 512), (2049, 512), (5000, 512), (12000, 100)])
def test_where_a_prompt_leaves_them(n, max_rows):
    copies: list[tuple[int, int]] = []
    kept = Snapshots(range(1, 9), lambda *slots: copies.append(slots))
    scheduler = Scheduler(Memory(200, kept), max_rows, 1)
    sequence = engines.sequence(range(n), 9)
    scheduler.add(sequence)
    borders, n_steps = [], 0
    while sequence.n_cached < n:
        [(_, rows, _)] = scheduler.next()
        n_steps += 1
        scheduler.memory.commit(sequence, rows)
        if kept.is_due(sequence):
            kept.keep(sequence, None)
            borders.append(sequence.n_cached)
    last = (n - 1) // PAGE * PAGE
    expected = {100: [], 330: [320], 2049: [2048], 5000: [2048, 4096, last], 12000: [4096, 8192, last]}[n]
    assert borders == expected
    assert copies == [(0, 8 - i) for i in range(len(expected))]
    # A step more for each border that no chunk would have ended at.
    assert n_steps <= -(-n // max_rows) + sum(border % max_rows > 0 for border in borders)
