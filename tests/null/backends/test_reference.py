"""Laws of the reference: however a text is cut into steps and packed with others, every row has the same bits."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.tiny import write_tiny

from outpace.backends.backend import Limits
from outpace.backends.reference import (
    PagedKV,
    ReferenceBackend,
    ReferenceExecutable,
    ReferenceOps,
    alone,
    round_q4_0,
    round_q8_0,
)
from outpace.errors import UnsupportedError
from outpace.gguf.file import open_gguf
from outpace.gguf.quants import dequantize, quantize
from outpace.gguf.types import GGMLType
from outpace.gguf.weights import Weights
from outpace.graph.step import CHUNK, PAGE, Segment, Step
from outpace.models import load_plan

N = 150
TOKENS = [int(token) for token in np.random.default_rng(1).integers(0, 64, N)]
PAGES = np.array([5, 2, 7], np.int32)


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def path(request, tmp_path_factory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny.gguf", request.param)


def compiled(path: Path, kv_type: str = "f16") -> ReferenceExecutable:
    with open_gguf(path) as file:
        return ReferenceBackend().compile(load_plan(file).plan, file, Limits(N, N, 8, kv_type))


def run(executable: ReferenceExecutable, tokens: list[int], start: int = 0, pages=PAGES) -> np.ndarray:
    segment = Segment(start, len(tokens), pages)
    return executable.run(Step(tokens, [segment], range(len(tokens)))).logits.copy()


@pytest.fixture(scope="module")
def whole(path) -> np.ndarray:
    return run(compiled(path), TOKENS)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 65])
def test_any_chunking_is_the_whole(path, whole, chunk: int):
    executable = compiled(path)
    parts = [run(executable, TOKENS[at : at + chunk], at) for at in range(0, N, chunk)]
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize(("width", "n_rows"), [(576, 1536), (1536, 576), (100, 77)])
def test_a_row_has_the_same_bits_in_any_company(width: int, n_rows: int):
    """At the widths of a real model, where the matrix library chooses its kernels by shape."""
    random = np.random.default_rng(0)
    weight, norm = random.normal(size=(n_rows, width)).astype(np.float32), np.ones(width, np.float32)
    x = random.normal(size=(33, width)).astype(np.float32)

    def verbs(n: int) -> ReferenceOps:
        step = Step([0] * n, [Segment(0, n, np.zeros(1, np.int32))], [])
        return ReferenceOps(step, lambda array: array, PagedKV(1, "f32"))

    def results(rows: np.ndarray) -> list[np.ndarray]:
        ops = verbs(len(rows))
        return [ops.linear(rows, weight), ops.rms_norm(rows, norm, 1e-5), ops.silu(rows)]

    together = results(x)
    for n in (1, 2, 3, 8):
        for apart, among in zip(results(x[7 : 7 + n].copy()), together, strict=True):
            assert np.array_equal(apart, among[7 : 7 + n])


def test_eager_is_compiled(path):
    with open_gguf(path) as file:
        model = load_plan(file)
        ops = alone(file, TOKENS)
        model.definition.trunk(ops, Weights(file), model.config)
    assert np.array_equal(ops.outputs["logits"], run(compiled(path, "f32"), TOKENS))


def test_a_batch_is_each_alone(path, whole):
    executable = compiled(path)
    other = TOKENS[::-1]
    run(executable, TOKENS[:100], 0)
    run(executable, other[:70], 0, np.array([0, 1], np.int32))
    segments = [Segment(70, 3, np.array([0, 1], np.int32)), Segment(100, 2, PAGES)]
    step = Step(other[70:73] + TOKENS[100:102], segments, [1, 2, 4])
    logits = executable.run(step).logits
    assert np.array_equal(logits[2], whole[101])
    assert np.array_equal(logits[:2], run(compiled(path), other)[71:73])


def test_staged_rows_that_are_not_kept_leave_no_trace(path, whole):
    executable = compiled(path)
    run(executable, TOKENS[:60])
    run(executable, [9] * 8, 60)
    assert np.array_equal(run(executable, TOKENS[61:], 61), whole[61:]) is False
    run(executable, [9] * 8, 60)
    assert np.array_equal(run(executable, TOKENS[60:], 60), whole[60:])


def test_a_copied_page_reads_like_its_source(path, whole):
    executable = compiled(path)
    run(executable, TOKENS[:PAGE])
    executable.copy_page(int(PAGES[0]), 0)
    assert np.array_equal(run(executable, TOKENS[PAGE:], PAGE, np.array([0, 3, 4], np.int32)), whole[PAGE:])


@pytest.mark.parametrize("begin", [PAGE, CHUNK])
def test_attention_that_begins_later_never_reads_what_lies_before(path, whole, begin):
    """As if the text had no past: a layer that saw the whole text differs, the first one's keys and values do not."""
    n, pages = 40, np.arange(5, dtype=np.int32)

    def at(begin: int, rows: int, segment_first: int, executable: ReferenceExecutable) -> np.ndarray:
        segment = Segment(begin, rows, pages, first=segment_first)
        return executable.run(Step(TOKENS[:rows], [segment], range(rows))).logits.copy()

    fresh = compiled(path)
    later = at(begin, n, begin, fresh)
    assert not np.isnan(later).any()
    used = compiled(path)
    at(0, 60, 0, used)
    assert np.array_equal(at(begin, n, begin, used), later)
    # Rotary positions count from the front, but only their differences matter.
    np.testing.assert_allclose(later, whole[:n], rtol=1e-3, atol=2e-3)
    with pytest.raises(AssertionError, match="attention from 32 on"):
        at(begin, 1, 32, fresh)
    with pytest.raises(AssertionError, match="attention from 512 on"):
        at(begin, 1, 512, fresh)


def test_memory_nobody_wrote_shows(path):
    executable = compiled(path)
    run(executable, TOKENS[:3])
    assert np.isnan(run(executable, TOKENS[5:6], 5)).all()


@pytest.mark.parametrize(("kv_type", "error"), [("f16", 5e-3), ("q8_0", 5e-2), ("q4_0", 0.5)])
def test_a_rounded_cache_stays_near_the_exact_one(path, kv_type: str, error: float):
    exact, rounded = run(compiled(path, "f32"), TOKENS), run(compiled(path, kv_type), TOKENS)
    difference = np.linalg.norm(exact - rounded) / np.linalg.norm(exact)
    assert 0 < difference < error


def test_an_unknown_cache_type_is_refused(path):
    with pytest.raises(UnsupportedError, match=r"KV type 'q5_0'.*f16, q8_0, q4_0, f32"):
        compiled(path, "q5_0")


def test_q8_0_rounding_by_hand():
    x = np.zeros((1, 40), np.float32)
    x[0, :3] = [127.0, 1.4, -0.6]
    x[0, 32:34] = [0.5, -0.25]
    rounded = round_q8_0(x)
    assert rounded[0, :3].tolist() == [127.0, 1.0, -1.0]
    # The second block's scale is 0.5 / 127 as f16 rounds it; -0.25 is 63.5 steps, rounded to even.
    scale = float(np.float16(0.5 / 127))
    assert rounded[0, 32:34].tolist() == pytest.approx([127 * scale, -64 * scale])
    assert not rounded[0, 34:].any()


def test_q4_0_rounding_by_hand():
    x = np.zeros((1, 40), np.float32)
    x[0, :5] = [-8.0, 8.0, 1.4, -0.6, 7.2]
    x[0, 32:35] = [-0.5, 0.25, 0.5]
    rounded = round_q4_0(x)
    # The positive one of two extremes is 8 steps down, each of -1; so the negative one is 8 up, and there are 7.
    assert rounded[0, :5].tolist() == [-7.0, 8.0, 1.0, -1.0, 7.0]
    assert rounded[0, 32:35].tolist() == [-7 / 16, 0.25, 0.5]
    assert not rounded[0, 35:].any() and not rounded[0, 5:32].any()


@pytest.mark.parametrize(("kind", "rounding"), [(GGMLType.Q8_0, round_q8_0), (GGMLType.Q4_0, round_q4_0)])
def test_rounding_is_that_of_the_tensor_type_but_for_ties(kind, rounding):
    x = np.random.default_rng(0).standard_normal((50, 64)).astype(np.float32)
    raw = np.ascontiguousarray(quantize(x, kind)).reshape(-1).view(np.uint8)
    np.testing.assert_array_equal(rounding(x), dequantize(raw, kind, x.shape))


def test_memory_is_told_from_the_plan(path):
    with open_gguf(path) as file:
        plan = load_plan(file).plan
        memory = ReferenceBackend().memory(plan, Limits(16, 16, 8))
        assert memory.weights_bytes == sum(info.n_bytes for info in file.tensors.values())
    assert memory.kv_bytes == 2 * 8 * PAGE * 2 * 2 * 16 * 4
    assert memory.total_bytes > memory.weights_bytes + memory.kv_bytes
