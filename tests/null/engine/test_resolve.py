"""Open settings are settled with reasons; what does not fit is refused with what would."""

from dataclasses import dataclass

import pytest
from tests.support.tiny import write_tiny

from outpace.backends.backend import MemoryPlan
from outpace.config import RunConfig
from outpace.engine.resolve import Settings, available_memory, resolve
from outpace.errors import ConfigError, ResourceError
from outpace.gguf.file import open_gguf
from outpace.graph.plan import Plan
from outpace.models import load_plan

PAGE_BYTES = {"f16": 2000, "q8_0": 1100, "q4_0": 600}
SLOT_BYTES = 5000
PLAN = Plan("trunk", (), {})


@dataclass
class Scales:
    """A backend that weighs 100,000 bytes and some for each page, and for each slot where the plan has states."""

    threads: int
    name: str = "scales"

    def memory(self, plan, limits, draft=None):
        states = SLOT_BYTES * limits.n_slots if plan.nodes else 0
        return MemoryPlan(100_000, PAGE_BYTES[limits.kv_type] * limits.n_pages, states, 0)

    def compile(self, plan, file, limits, draft=None):
        raise NotImplementedError


def settle(available=10_000_000, threads=None, **options) -> Settings:
    return resolve(RunConfig(**options), PLAN, 4096, Scales, environment_threads=threads, available_bytes=available)


def test_open_settings_come_from_the_file_and_have_reasons():
    found = settle()
    assert (found.context, found.parallel, found.drafter) == (4096, 1, "suffix")
    assert found.limits.n_pages == 64
    assert found.limits.max_wanted == 17
    assert found.memory.total_bytes == 100_000 + 64 * 2000
    assert set(found.reasons) == {"context", "n_pages", "threads", "drafter", "kv_type", "max_rows"}
    assert found.reasons["context"] == "what the model was trained for"


def test_a_long_context_is_taken_only_when_asked_for():
    def long(**options) -> Settings:
        return resolve(RunConfig(**options), PLAN, 131072, Scales, available_bytes=10_000_000)

    assert long().context == 8192
    assert long().reasons["context"] == "the default; the model was trained for 131072"
    assert long(context=20000).context == 20000


def test_what_was_asked_for_is_done():
    found = settle(context=100, threads=3, kv_type="q8_0", spec_type="none", parallel=2)
    assert (found.context, found.threads, found.drafter) == (100, 3, "none")
    assert found.limits.n_pages == 4
    assert found.limits.kv_type == "q8_0"
    assert found.limits.max_wanted == 2
    assert found.limits.max_rows == 128
    assert settle(spec_draft_n_max=0).drafter == "none"
    assert settle(threads=5).threads == 5
    assert settle(parallel=40).limits.max_wanted == 64
    assert settle(parallel=100).limits.max_wanted == 100


def test_an_open_context_shrinks_to_the_memory():
    found = settle(available=100_000 + 10 * 2000 + 5)
    assert found.context == 640
    assert found.reasons["context"] == "memory is short: the model was trained for 4096"


def test_sequences_share_where_memory_is_short():
    found = settle(available=100_000 + 130 * 2000, parallel=4)
    assert (found.context, found.parallel, found.limits.n_pages) == (4096, 4, 128)
    assert found.reasons["n_pages"] == "memory is short: room for 2 full sequences of 4"


def test_what_does_not_fit_is_refused_with_what_would():
    with pytest.raises(ResourceError, match=r"a context of 4096 needs .*; a context of 640 fits$"):
        settle(available=100_000 + 10 * 2000 + 5, context=4096)
    with pytest.raises(ResourceError, match="a context of 2560 fits, and so does this one with kv_type q8_0"):
        settle(available=100_000 + 40 * 2000, context=4000 - 160)
    with pytest.raises(ResourceError, match="a context of 1920 fits, and so does this one with kv_type q4_0"):
        settle(available=100_000 + 30 * 2000, context=4000 - 160)
    with pytest.raises(ResourceError, match=r"even a context of 64 needs 102\.0 kB"):
        settle(available=50_000)


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory) -> Plan:
    with open_gguf(write_tiny(tmp_path_factory.mktemp("tiny") / "tiny.gguf", "qwen35")) as file:
        return load_plan(file).plan


@pytest.mark.parametrize(
    ("parallel", "spare_slots", "n_kept", "reason"),
    [
        (1, 100, 4, "1 to run, 4 to keep for prompts that begin like earlier ones"),
        (3, 100, 8, "3 to run, 8 to keep for prompts that begin like earlier ones"),
        (3, 8, 8, "3 to run, 8 to keep for prompts that begin like earlier ones"),
        (3, 7.9, 7, "memory is short: 3 to run, 7 to keep for prompts that begin like earlier ones"),
        (1, 0.5, 0, "memory is short: 1 to run, 0 to keep for prompts that begin like earlier ones"),
    ],
)
def test_states_are_kept_where_there_is_room(hybrid, parallel, spare_slots, n_kept, reason):
    least = 100_000 + 64 * 2000 * parallel + SLOT_BYTES * parallel
    available = int(least + spare_slots * SLOT_BYTES)
    found = resolve(RunConfig(parallel=parallel), hybrid, 4096, Scales, available_bytes=available)
    assert found.limits.n_slots == parallel + n_kept
    assert found.limits.n_pages == 64 * parallel
    assert found.memory.total_bytes == least + n_kept * SLOT_BYTES
    assert found.reasons["n_slots"] == reason


def test_a_context_beyond_the_model_is_refused():
    with pytest.raises(ConfigError, match="context is 5000; expected at most 4096"):
        settle(context=5000)


def test_the_machine_says_what_it_has():
    assert available_memory() > 1 << 20
