"""Laws of a draft program compiled with its trunk: the same bits as by itself, and keys and values alone suffice."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.tiny import write_tiny

from outpace.backends.backend import Limits
from outpace.backends.reference import ReferenceBackend, ReferenceExecutable
from outpace.gguf.file import open_gguf
from outpace.graph.step import PAGE, Segment, Step
from outpace.models import load_plan

N = 100
RANDOM = np.random.default_rng(2)
TOKENS = [int(token) for token in RANDOM.integers(0, 64, N)]
HIDDEN = RANDOM.normal(size=(N, 32)).astype(np.float32)
PAGES = np.array([3, 1], np.int32)
LIMITS = Limits(N, N, 4)


@pytest.fixture(scope="module", params=["qwen35", "qwen35moe"])
def path(request, tmp_path_factory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "tiny.gguf", request.param)


def compiled(path: Path) -> ReferenceExecutable:
    with open_gguf(path) as file:
        model = load_plan(file)
        return ReferenceBackend().compile(model.plan, file, LIMITS, model.draft)


def step(begin: int, end: int, pages=PAGES, picked=()) -> Step:
    return Step(TOKENS[begin:end], [Segment(begin, end - begin, pages)], picked, picked, HIDDEN[begin:end])


def test_a_draft_program_beside_its_trunk_is_itself(path):
    with open_gguf(path) as file:
        alone = ReferenceBackend().compile(load_plan(file).draft, file, LIMITS).run(step(0, N, picked=range(N)))
    executable = compiled(path)
    executable.run(Step(TOKENS[:9], [Segment(0, 9, PAGES)], [8]))
    found = executable.draft.run(step(0, N, picked=range(N)))
    assert np.array_equal(found.logits, alone.logits)
    assert np.array_equal(found.hidden, alone.hidden)


@pytest.mark.parametrize("cuts", [(N - 1,), (1, 40, 41, N - 1)])
def test_catching_up_leaves_what_a_run_leaves(path, cuts):
    whole = compiled(path).draft.run(step(0, N, picked=[N - 1]))
    executable = compiled(path)
    begin = 0
    for end in cuts:
        executable.draft.catch_up(step(begin, end))
        begin = end
    found = executable.draft.run(step(begin, N, picked=[N - 1 - begin]))
    assert np.array_equal(found.logits, whole.logits)
    assert np.array_equal(found.hidden, whole.hidden)


def test_a_copied_page_is_copied_in_both_programs(path):
    executable = compiled(path)
    executable.run(Step(TOKENS[:PAGE], [Segment(0, PAGE, PAGES)], []))
    executable.draft.catch_up(step(0, PAGE))
    executable.copy_page(int(PAGES[0]), 0)
    other = np.array([0, 2], np.int32)
    for pages in (PAGES, other):
        executable.draft.catch_up(step(PAGE, N - 1, pages))
    logits = [executable.draft.run(step(N - 1, N, pages, [0])).logits for pages in (PAGES, other)]
    assert np.array_equal(*logits)


def test_memory_tells_the_draft_programs_part(path):
    with open_gguf(path) as file:
        model = load_plan(file)
        plain, both = (ReferenceBackend().memory(model.plan, LIMITS, each) for each in (None, model.draft))
        own = {name: ref for name, ref in model.draft.weights().items() if name not in model.plan.weights()}
    assert plain.mtp_bytes == 0
    assert {name for name in own if "nextn" in name} and not {name for name in own if "token_embd" in name}
    kv = 4 * 2 * 2 * 16 * PAGE * LIMITS.n_pages
    assert both.mtp_bytes > kv + 4 * sum(int(np.prod(ref.shape)) for ref in own.values())
    assert both.total_bytes == plain.total_bytes + both.mtp_bytes
