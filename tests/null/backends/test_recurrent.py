"""Laws of recurrent states: guesses staged and accepted in any number leave the bits of a plain run."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.rounds import rounds, same_count, two_at_once, wrong
from tests.support.stepping import Stepper
from tests.support.tiny import write_tiny

from outpace.backends.backend import Limits
from outpace.backends.reference import ReferenceBackend, ReferenceExecutable, alone
from outpace.gguf.file import open_gguf
from outpace.gguf.weights import Weights
from outpace.graph.step import PAGE, Segment, Step
from outpace.models import load_plan

N = 150
MOST = 6
TOKENS = [int(token) for token in np.random.default_rng(1).integers(0, 64, N)]


@pytest.fixture(scope="module", params=["qwen35", "qwen35moe", "qwen3next"])
def path(request, tmp_path_factory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny.gguf", request.param, n_layers=4)


def compiled(path: Path, n_slots: int = 3) -> ReferenceExecutable:
    with open_gguf(path) as file:
        limits = Limits(N, N, 9, "f16", n_slots=n_slots, max_draft=MOST)
        return ReferenceBackend().compile(load_plan(file).plan, file, limits)


@pytest.fixture(scope="module")
def whole(path) -> np.ndarray:
    """Logits of every position, the text given at once."""
    return Stepper(compiled(path)).feed(TOKENS)


@pytest.mark.parametrize("chunk", [1, 2, 5, 64, 149])
def test_any_chunking_is_the_whole(path, whole, chunk: int):
    stepper = Stepper(compiled(path))
    for at in range(0, N, chunk):
        assert np.array_equal(stepper.feed(TOKENS[at : at + chunk]), whole[at : at + chunk])
        stepper.accept(0)


@pytest.mark.parametrize("seed", range(6))
def test_every_number_of_accepted_guesses_leaves_the_plain_run(path, whole, seed: int):
    random = np.random.default_rng(seed)
    stepper = Stepper(compiled(path))
    stepper.feed(TOKENS[: int(random.integers(1, 6))])
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
    source.feed(TOKENS[: PAGE - 2], [wrong(3)] * 4)
    source.accept(0)
    source.feed(TOKENS[PAGE - 2 : PAGE])
    source.accept(0)
    executable.copy_state(1, 2)
    executable.copy_page(0, 7)
    source.feed([wrong(token) for token in TOKENS[PAGE : PAGE + 5]])
    copied = Stepper(executable, 2, [7, 8, 6], at=PAGE)
    assert np.array_equal(copied.feed(TOKENS[PAGE:]), whole[PAGE:])


@pytest.mark.parametrize("n_taken", range(5))
def test_a_copy_takes_in_staged_rows_as_its_source_would(path, whole, n_taken: int):
    executable = compiled(path)
    source = Stepper(executable, 1)
    source.feed(TOKENS[:PAGE], TOKENS[PAGE : PAGE + 4])
    executable.copy_state(1, 2)
    source.accept(4)
    source.feed([wrong(token) for token in TOKENS[PAGE + 4 : PAGE + 9]], [wrong(3)])
    copied = Stepper(executable, 2, at=PAGE + n_taken)
    copied.n_pending = n_taken
    assert np.array_equal(copied.feed(TOKENS[copied.at :]), whole[copied.at :])


def test_a_slot_used_again_begins_from_zeros(path, whole):
    executable = compiled(path, n_slots=1)
    Stepper(executable).feed(TOKENS[::-1][:40], TOKENS[:3])
    assert np.array_equal(Stepper(executable).feed(TOKENS), whole)


def test_eager_is_compiled(path):
    with open_gguf(path) as file:
        model = load_plan(file)
        ops = alone(file, TOKENS, "f16")
        model.definition.trunk(ops, Weights(file), model.config)
    executable = compiled(path)
    step = Step(TOKENS, [Segment(0, N, np.arange(3, dtype=np.int32))], [3, 149], [0, 3, 149])
    result = executable.run(step)
    assert np.array_equal(result.logits, ops.outputs["logits"][[3, 149]])
    assert np.array_equal(result.hidden, ops.outputs["hidden"][[0, 3, 149]])


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([(4, 1, 0, 0, 0)], "no state at position 4"),
        ([(0, 2, 0, 2, 0), (5, 1, 0, 0, 3)], "3 rows accepted of 2 staged"),
        ([(0, 3, 0, 2, 0), (3, 1, 0, 0, 1)], r"is at 1 \+ 1, not 3"),
        ([(0, 7, 0, 7, 0)], "7 guesses, room for 6"),
        ([(0, 1, 0, 0, 1)], "nothing pending"),
    ],
)
def test_a_step_that_does_not_go_on_where_its_slot_stopped_is_a_mistake(path, segments, message: str):
    executable = compiled(path)
    pages = np.arange(9, dtype=np.int32)
    with pytest.raises(AssertionError, match=message):
        for start, n_rows, slot, n_draft, n_pending in segments:
            executable.run(Step([1] * n_rows, [Segment(start, n_rows, pages, slot, n_draft, n_pending)], []))


def test_memory_is_told_from_the_plan(path):
    with open_gguf(path) as file:
        limits = Limits(16, 16, 8, n_slots=5, max_draft=3)
        memory = ReferenceBackend().memory(load_plan(file).plan, limits)
    per_slot = 2 * (4 * (4 * 8 * 8 + 3 * 64) + 3 * 4 * (64 + 16 + 32 + 8))
    assert memory.state_bytes == 5 * per_slot
