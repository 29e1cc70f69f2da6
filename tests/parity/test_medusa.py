"""Medusa heads of every architecture against the same in numpy, on both backends; heads of zeros are the model."""

from pathlib import Path

import numpy as np
import pytest
from tests.support import medusa, tiny

from outpace.backends.backend import Backend, Limits
from outpace.backends.reference import ReferenceBackend
from outpace.engine.drafters import drafting
from outpace.gguf.file import open_gguf
from outpace.graph.step import Segment, Step
from outpace.models import DEFINITIONS, load_plan
from outpace.speculate.vocabulary import FREE, HIGH, size

N, K = 12, 3
PAGES = np.zeros(1, np.int32)
STATES = np.random.default_rng(2).normal(size=(N, 32)).astype(np.float32)


@pytest.fixture(params=["reference", "cpu"])
def backend(request) -> tuple[Backend, float]:
    """A backend, and the relative error that it may have."""
    if request.param == "reference":
        return ReferenceBackend(), 1e-5
    cpu = pytest.importorskip("outpace.backends.cpu.backend", reason="the CPU backend is not built")
    return cpu.CpuBackend(2), 1e-4


def rows(n: int, hidden: np.ndarray) -> Step:
    """One row each of n sequences; none reads a cache, so that they stand at positions with no page of their own."""
    return Step([0] * n, [Segment(0, 1, PAGES) for _ in range(n)], range(n), (), hidden)


def worst(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape
    return float((np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)).max())


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("arch", DEFINITIONS)
def test_each_head_says_what_the_paper_says(arch: str, tied: bool, backend, tmp_path: Path):
    implementation, room = backend
    path = medusa.with_heads(tiny.write_tiny(tmp_path / "tiny.gguf", arch, tied=tied), tmp_path / "heads.gguf", K)
    with open_gguf(path) as file:
        model, limits = load_plan(file), Limits(64, N, 2)
        assert model.unused == () and model.config.n_medusa == K
        draft = implementation.compile(model.plan, file, limits, model.medusa).draft
        expected = medusa.Heads(file).logits(STATES)
    for i in range(K):
        found = draft.run(rows(N, STATES), i)
        assert found.hidden is None
        assert worst(found.logits, expected[i]) < room
        # A row's result does not hang on the rows beside it.
        alone = draft.run(rows(1, STATES[3:4]), i).logits.copy()
        np.testing.assert_array_equal(alone[0], draft.run(rows(N, STATES), i).logits[3])


@pytest.mark.parametrize("arch", ["llama", "qwen3", "qwen35"])
def test_heads_of_zeros_are_the_models_own(arch: str, backend, tmp_path: Path):
    implementation, _ = backend
    path = tiny.write_tiny(tmp_path / "tiny.gguf", arch)
    path = medusa.with_heads(path, tmp_path / "heads.gguf", K, size=0.0)
    tokens = medusa.tokens(N, 64)
    with open_gguf(path) as file:
        model, limits = load_plan(file), Limits(64, N, 2)
        executable = implementation.compile(model.plan, file, limits, model.medusa)
    result = executable.run(Step(tokens, [Segment(0, N, PAGES)], range(N), range(N)))
    hidden, logits = result.hidden.copy(), result.logits.copy()
    for i in range(K):
        np.testing.assert_array_equal(executable.draft.run(rows(N, hidden), i).logits, logits)


def test_the_rows_of_a_large_vocabulary_are_kept_once_for_all_heads(backend, tmp_path: Path):
    implementation, _ = backend
    path = tiny.write_tiny(tmp_path / "tiny.gguf", n_vocab=40000)
    with open_gguf(medusa.with_heads(path, tmp_path / "heads.gguf", K)) as file:
        model, limits = load_plan(file), Limits(64, N, 2)
        plan = drafting(model.medusa)
        memory = implementation.memory(model.plan, limits, plan)
        one = sum(ref.n_bytes for ref in plan.weights().values() if ref.rows_of is not None)
        assert one == size(40000) * 18
        draft = implementation.compile(model.plan, file, limits, plan).draft
        chosen = [7, 30000, 39999]
        draft.take_rows(0, chosen)
        assert draft.n_vocab == size(40000) > HIGH + FREE
        expected = medusa.Heads(file).logits(STATES)
    for i in range(K):
        assert worst(draft.run(rows(N, STATES), i).logits[:, :3], expected[i][:, chosen]) < 0.3
    # Of each head its matrix, of all together the projection's rows, and no cache. The reference keeps float32.
    kept = one if implementation.name == "cpu" else 4 * size(40000) * 32
    assert memory.draft.kv_bytes == 0 < memory.draft.head_bytes < 2 * kept
    assert K * 32 * 32 * 4 <= memory.draft.weights_bytes < 2 * K * 32 * 32 * 4
