"""The hybrid family natively: near the reference, and the same bits on all tiers, in any steps and any rounds."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from bench.random_hybrid import write_random_hybrid
from tests.support.rounds import rounds, same_count, two_at_once, wrong
from tests.support.stepping import Stepper
from tests.support.tiny import write_tiny

from outpace import _native
from outpace.backends.backend import Limits
from outpace.backends.cpu import CpuBackend
from outpace.backends.cpu.executable import CpuExecutable
from outpace.backends.reference import ReferenceBackend
from outpace.gguf.file import open_gguf
from outpace.graph.step import CHUNK, PAGE, Segment, Step
from outpace.models import load_plan

TIERS = _native.supported_tiers()
N, MOST = 150, 6
TOKENS = [int(token) for token in np.random.default_rng(1).integers(0, 64, N)]
HIDDEN = np.random.default_rng(2).normal(size=(N, 32)).astype(np.float32)
PAGES = np.array([4, 0, 7, 2, 6], np.int32)
LIMITS = Limits(N, N, 9, n_slots=3, max_draft=MOST)


@pytest.fixture(scope="module", params=["qwen35", "qwen35moe", "qwen3next"])
def path(request, tmp_path_factory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny.gguf", request.param, n_layers=4)


@pytest.fixture(
    scope="module", params=[("qwen35", "Q4_K_M"), ("qwen35moe", "Q8_0"), ("qwen3next", "Q4_0")], ids="-".join
)
def quantised_path(request, tmp_path_factory) -> Path:
    arch, kind = request.param
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    return write_random_hybrid(path, arch=arch, type=kind)


def compiled(path: Path, tier: str = TIERS[0], threads: int = 2, limits: Limits = LIMITS) -> CpuExecutable:
    with open_gguf(path) as file:
        model = load_plan(file)
        return CpuBackend(threads, tier).compile(model.plan, file, limits, model.draft)


@lru_cache
def whole_on(path: Path, tier: str) -> np.ndarray:
    return Stepper(compiled(path, tier), pages=PAGES).feed(TOKENS)


@pytest.fixture
def whole(path) -> np.ndarray:
    """Logits of every position, the text given at once."""
    return whole_on(path, TIERS[0])


def near(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_both_programs_are_near_the_reference(path):
    step = Step(TOKENS, [Segment(0, N, PAGES)], range(0, N, 3), range(N))
    with open_gguf(path) as file:
        model = load_plan(file)
        reference = ReferenceBackend().compile(model.plan, file, LIMITS, model.draft)
    executable = compiled(path)
    for program, other in ((executable, reference), (executable.draft, reference.draft)):
        found, expected = program.run(step._replace(hidden=HIDDEN)), other.run(step._replace(hidden=HIDDEN))
        near(found.logits, expected.logits)
        near(found.hidden, expected.hidden)


@pytest.mark.parametrize("tier", TIERS[1:])
def test_all_tiers_give_the_same_bits(path, whole, tier):
    assert np.array_equal(whole_on(path, tier), whole)


def test_quantised_programs_are_near_the_reference_and_keep_their_bits_in_rounds(quantised_path):
    """Activations are rounded to 8 bits here, so near is less near: now and then a row chooses another expert."""
    step = Step(TOKENS, [Segment(0, N, PAGES)], range(N), range(N))
    with open_gguf(quantised_path) as file:
        model = load_plan(file)
        reference = ReferenceBackend().compile(model.plan, file, LIMITS, model.draft)
    executable = compiled(quantised_path)
    hidden = np.random.default_rng(2).normal(size=(N, model.config.d_model)).astype(np.float32)
    for program, other in ((executable, reference), (executable.draft, reference.draft)):
        found, expected = program.run(step._replace(hidden=hidden)), other.run(step._replace(hidden=hidden))
        for one, two in ((found.logits, expected.logits), (found.hidden, expected.hidden)):
            error = np.linalg.norm(one - two, axis=1) / np.linalg.norm(two, axis=1)
            assert np.median(error) < (0.05 if model.config.experts is None else 0.2)
    whole = whole_on(quantised_path, TIERS[0])
    for tier in TIERS:
        random = np.random.default_rng(3)
        stepper = Stepper(compiled(quantised_path, tier))
        stepper.feed(TOKENS[:30])
        stepper.accept(0)
        while stepper.at < N - 2 * MOST:
            rounds(stepper, random, TOKENS, whole, 1, MOST)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_no_number_of_accepted_guesses_changes_a_bit(path, whole, tier, threads):
    for seed in range(4):
        random = np.random.default_rng(seed)
        stepper = Stepper(compiled(path, tier, threads), slot=1)
        stepper.feed(TOKENS[: int(random.integers(1, 70))])
        stepper.accept(0)
        while stepper.at < N - 2 * MOST:
            rounds(stepper, random, TOKENS, whole, 1, MOST)


@pytest.mark.parametrize("n_right", range(MOST + 1))
def test_the_same_number_over_and_over(path, whole, n_right: int):
    same_count(Stepper(compiled(path)), TOKENS, whole, n_right, MOST)


def test_a_batch_is_each_alone(path, whole):
    backwards = Stepper(compiled(path)).feed(TOKENS[::-1])
    two_at_once(compiled(path), TOKENS, whole, backwards)


def test_a_copied_state_goes_on_like_its_source(path, whole):
    executable = compiled(path)
    source = Stepper(executable, 1, [0, 1, 2])
    source.feed(TOKENS[: PAGE - 2], [*TOKENS[PAGE - 2 : PAGE], wrong(3)])
    executable.copy_state(1, 2)
    executable.copy_page(0, 7)
    source.accept(0)
    source.feed([wrong(token) for token in TOKENS[PAGE : PAGE + 5]])
    copied = Stepper(executable, 2, [7, 8, 6], at=PAGE)
    copied.n_pending = 2
    assert np.array_equal(copied.feed(TOKENS[PAGE:]), whole[PAGE:])


def test_a_slot_used_again_begins_from_zeros(path, whole):
    executable = compiled(path)
    Stepper(executable).feed(TOKENS[::-1][:40], TOKENS[:3])
    assert np.array_equal(Stepper(executable).feed(TOKENS), whole)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([(4, 1, 0, 0, 0)], "slot 0 has no state at position 4"),
        ([(0, 2, 0, 2, 0), (5, 1, 0, 0, 3)], "3 rows accepted of 2 staged"),
        ([(0, 3, 0, 2, 0), (3, 1, 0, 0, 1)], r"is at 1 \+ 1, not 3"),
        ([(0, 7, 0, 7, 0)], "7 guesses, room for 6"),
        ([(0, 1, 0, 0, 1)], "nothing pending"),
        ([(0, 1, 3, 0, 0)], "slot 3 is out of range"),
    ],
)
def test_a_step_that_does_not_go_on_where_its_slot_stopped_is_refused(path, whole, segments, message: str):
    executable = compiled(path)
    Stepper(executable, slot=2, pages=PAGES).feed(TOKENS[:70])
    with pytest.raises(ValueError, match=message):
        for start, n_rows, slot, n_draft, n_pending in segments:
            executable.run(Step([1] * n_rows, [Segment(start, n_rows, PAGES, slot, n_draft, n_pending)], []))


@pytest.mark.parametrize("wanted", [[], [149], [3, 149], range(60, 80)])
@pytest.mark.parametrize("exported", [[149], [3, 77, 149], range(N)])
def test_rows_asked_for_do_not_change_with_the_rest(path, whole, wanted, exported):
    wanted = [row for row in wanted if row in exported]
    executable = compiled(path)
    states = executable.run(Step(TOKENS, [Segment(0, N, PAGES)], [], range(N))).hidden.copy()
    result = executable.run(Step(TOKENS, [Segment(0, N, PAGES)], wanted, exported))
    assert np.array_equal(result.logits, whole[wanted])
    assert np.array_equal(result.hidden, states[list(exported)])
    unsaid = executable.run(Step(TOKENS, [Segment(0, N, PAGES)], wanted))
    assert np.array_equal(unsaid.logits, whole[wanted])
    assert np.array_equal(unsaid.hidden, states[wanted])


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("first", [0, PAGE, CHUNK])
def test_a_draft_program_has_the_same_bits_in_any_steps(path, tier, first):
    """Whole, caught up with in chunks, or row by row; short contexts and split ones; and from a later position on."""
    n, start = 300, first
    limits = Limits(n, n, 9)
    random = np.random.default_rng(5)
    tokens = random.integers(0, 64, n).tolist()
    hidden = random.normal(size=(n, 32)).astype(np.float32)
    pages = np.arange(9, dtype=np.int32)

    def step(begin: int, end: int, picked=()) -> Step:
        segment = Segment(start + begin, end - begin, pages, first=first)
        return Step(tokens[begin:end], [segment], picked, picked, hidden[begin:end])

    draft = compiled(path, tier, 1, limits).draft
    result = draft.run(step(0, n, range(n)))
    logits, states = result.logits.copy(), result.hidden.copy()
    with open_gguf(path) as file:
        model = load_plan(file)
        told = ReferenceBackend().compile(model.plan, file, limits, model.draft).draft.run(step(0, n, range(n)))
    np.testing.assert_allclose(states, told.hidden, rtol=0, atol=0.03 * np.abs(told.hidden).max())
    draft = compiled(path, tier, 2, limits).draft
    draft.catch_up(step(0, 5))
    draft.catch_up(step(5, 261))
    for begin, end in ((261, 262), (262, 270), (270, n)):
        result = draft.run(step(begin, end, [end - begin - 1]))
        assert np.array_equal(result.logits[0], logits[end - 1])
        assert np.array_equal(result.hidden[0], states[end - 1])


def test_steps_of_a_draft_program_that_do_not_fit_are_refused(path):
    executable = compiled(path, limits=Limits(N, 4, 9))
    draft, segment = executable.draft, Segment(0, N, PAGES)
    with pytest.raises(ValueError, match="a hidden state for each row"):
        draft.run(Step(TOKENS, [segment], [0], [0]))
    with pytest.raises(ValueError, match="a hidden state for each row"):
        draft.run(Step(TOKENS, [segment], [0], [0], HIDDEN[:-1]))
    with pytest.raises(ValueError, match="exports at most 4 rows"):
        draft.run(Step(TOKENS, [segment], [0], range(5), HIDDEN))
    with pytest.raises(ValueError, match="a wanted row is not exported"):
        draft.run(Step(TOKENS, [segment], [2], [1, 3], HIDDEN))
    with pytest.raises(ValueError, match="not in order"):
        draft.run(Step(TOKENS, [segment], [], [3, 1], HIDDEN))
    with pytest.raises(ValueError, match="at most the segment's start"):
        draft.run(Step(TOKENS, [segment._replace(first=CHUNK)], [], [], HIDDEN))


def test_memory_is_what_is_taken(path):
    with open_gguf(path) as file:
        model = load_plan(file)
        plain, both = (CpuBackend(2).memory(model.plan, LIMITS, draft) for draft in (None, model.draft))
    assert plain.mtp_bytes == 0
    assert both.total_bytes - both.mtp_bytes == plain.total_bytes
    # Columns of a state lie by sixteen, its parts on lines of 64 bytes.
    parts = (4 * 16 * 8, 3 * 64, MOST * 64, MOST * 16, MOST * 32, MOST * 4, MOST * 4)
    assert both.state_bytes == 3 * 2 * 4 * sum(-(-n // 16) * 16 for n in parts)
    assert both.mtp_bytes > _native.kv_page_bytes(2, 16, 1) * LIMITS.n_pages
