"""Settings that were left open, settled by the file and the machine, each with its reason."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from outpace.backends.backend import Backend, Limits, MemoryPlan
from outpace.config import KV_TYPES, RunConfig
from outpace.engine.drafters import chosen, speculator_of
from outpace.engine.memory import pages_for
from outpace.errors import ConfigError, ResourceError, readable_bytes
from outpace.graph.cost import state_spec
from outpace.graph.plan import Plan
from outpace.graph.step import PAGE

# Rows of a step: prompts are read in chunks of this size.
MAX_ROWS = 512

# Logits are kept for at most this many rows of a step.
MAX_WANTED = 64

# A context left open is at most this long: its memory is taken at start, and few conversations need more.
DEFAULT_CONTEXT = 8192

# Recurrent states kept for prompts that begin like earlier ones: two for each sequence (the end of its prompt, and how
# far it has come) and two more for those that have ended.
SNAPSHOTS_EACH, SNAPSHOTS_MORE = 2, 2

# Memory left to the rest of the machine.
SPARE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a run needs to know, settled.

    Attributes:
        context: Most tokens of a sequence.
        parallel: Most sequences at a time.
        threads: Threads that compute.
        drafter: Who drafts: one of `config.SPEC_TYPES`, but not `auto`.
        limits: Sizes of the executable.
        memory: Bytes the run will hold.
        reasons: Why each setting is what it is, by name.
    """

    context: int
    parallel: int
    threads: int
    drafter: str
    limits: Limits
    memory: MemoryPlan
    reasons: Mapping[str, str]

    @property
    def speculator(self) -> str:
        """Name of the speculator that drafts; "" for none."""
        return speculator_of(self.drafter)


def resolve(
    config: RunConfig,
    plan: Plan,
    n_ctx_train: int,
    backend: Callable[[int], Backend],
    *,
    drafts: Mapping[str, Plan] = MappingProxyType({}),
    environment_threads: int | None = None,
    available_bytes: int | None = None,
) -> Settings:
    """Settle a run's settings.

    Args:
        config: What was asked for; None where it was left open.
        plan: The trunk.
        n_ctx_train: Longest context the model was trained for.
        backend: Makes the backend for a number of threads.
        drafts: The draft programs there are (`drafters.offered`).
        environment_threads: What the environment asks for.
        available_bytes: Memory that may be used; None to ask the machine.

    Raises:
        ConfigError: The context asked for is longer than the model was trained for, or a speculator is asked
            for that is not there.
        ResourceError: What was asked for does not fit; says the largest context that does.
    """
    reasons: dict[str, str] = {}
    threads = settle_threads(config.threads, environment_threads, reasons)
    drafter = chosen(config, drafts, reasons)
    draft = drafts.get(speculator_of(drafter))
    if config.context is not None and config.context > n_ctx_train:
        raise ConfigError("context", config.context, f"at most {n_ctx_train}, what the model was trained for")
    wanted = config.parallel * (1 + (config.spec_draft_n_max if drafter != "none" else 0))
    limits = Limits(
        MAX_ROWS,
        max(config.parallel, min(wanted, MAX_WANTED)),
        0,
        config.kv_type,
        n_slots=config.parallel,
        max_draft=config.spec_draft_n_max if drafter != "none" else 0,
    )
    reasons["kv_type"] = "as asked for" if config.kv_type != "f16" else "the default: exact to half precision"
    reasons["max_rows"] = f"prompts are read {MAX_ROWS} tokens at a time"
    made = backend(threads)
    available = available_memory() - SPARE_BYTES if available_bytes is None else available_bytes

    def memory(context: int, n_sequences: int) -> tuple[Limits, MemoryPlan]:
        made_for = sized_for(limits, context, n_sequences)
        return made_for, made.memory(plan, made_for, draft)

    context = config.context or min(n_ctx_train, DEFAULT_CONTEXT)
    reasons["context"] = _context_reason(config.context, n_ctx_train)
    n_sequences = config.parallel
    sized, needed = memory(context, n_sequences)
    reasons["n_pages"] = f"{n_sequences} sequences of {context} tokens" if n_sequences > 1 else f"{context} tokens"
    while needed.total_bytes > available and n_sequences > 1:
        # Sequences are seldom all full; where they are, one waits for another.
        n_sequences -= 1
        sized, needed = memory(context, n_sequences)
        reasons["n_pages"] = f"memory is short: room for {n_sequences} full sequences of {config.parallel}"
    if needed.total_bytes > available:
        fitting = _longest(lambda n: memory(n, 1)[1].total_bytes <= available, context)
        if config.context is not None or fitting == 0:
            smallest = memory(PAGE, 1)[1].total_bytes
            fits = (
                f"a context of {fitting} fits"
                if fitting
                else f"even a context of {PAGE} needs {readable_bytes(smallest)}"
            )
            for smaller in KV_TYPES[KV_TYPES.index(config.kv_type) + 1 :] if fitting else ():
                other = replace(sized, kv_type=smaller)
                if made.memory(plan, other, draft).total_bytes <= available:
                    fits += f", and so does this one with kv_type {smaller}"
                    break
            raise ResourceError(f"a context of {context}", needed.total_bytes, available, fits)
        context = fitting
        sized, needed = memory(context, 1)
        reasons["context"] = f"memory is short: the model was trained for {n_ctx_train}"
        reasons["n_pages"] = f"{context} tokens"
    if state_spec(plan).recurrent:
        sized, needed = _with_snapshots(sized, lambda limits: made.memory(plan, limits, draft), available, reasons)
    return Settings(context, config.parallel, threads, drafter, sized, needed, MappingProxyType(reasons))


def sized_for(limits: Limits, context: int, n_sequences: int) -> Limits:
    """Return limits with room for so many sequences of a context."""
    n_pages = pages_for(context)
    return replace(
        limits, n_pages=n_pages * n_sequences, max_rows=max(min(MAX_ROWS, n_pages * PAGE), limits.max_wanted)
    )


def _with_snapshots(
    limits: Limits, memory: Callable[[Limits], MemoryPlan], available: int, reasons: dict[str, str]
) -> tuple[Limits, MemoryPlan]:
    """Return limits with as many slots for kept states as are wanted and fit, and what they take."""
    running = limits.n_slots
    n = most = SNAPSHOTS_EACH * running + SNAPSHOTS_MORE
    needed = memory(replace(limits, n_slots=running + n))
    if needed.total_bytes > available:
        least = memory(limits)
        each = (needed.total_bytes - least.total_bytes) / most
        n = max(int((available - least.total_bytes) / each), 0)
        needed = memory(replace(limits, n_slots=running + n))
    room = f"{running} to run, {n} to keep for prompts that begin like earlier ones"
    reasons["n_slots"] = room if n == most else f"memory is short: {room}"
    return replace(limits, n_slots=running + n), needed


def available_memory() -> int:
    """Return the bytes this process may still take: the machine's, or its control group's where that is less."""
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        found = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        try:
            found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError):
            return 1 << 62
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        cached = dict(line.split() for line in (group / "memory.stat").read_text().splitlines()).get("file", "0")
        return min(found, limit - used + int(cached))
    except (OSError, ValueError):
        return found


def settle_threads(asked: int | None, environment: int | None, reasons: dict[str, str]) -> int:
    """Return how many threads compute, and put why into `reasons`."""
    if asked is not None:
        reasons["threads"] = "as asked for"
        return asked
    if environment is not None:
        reasons["threads"] = "OUTPACE_THREADS"
        return environment
    n = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    reasons["threads"] = "one for each CPU this process may use"
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        allowed = max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return n
    if allowed < n:
        reasons["threads"] = f"the control group's share of {n} CPUs"
    return min(n, allowed)


def _context_reason(asked: int | None, n_ctx_train: int) -> str:
    if asked is not None:
        return "as asked for"
    if n_ctx_train <= DEFAULT_CONTEXT:
        return "what the model was trained for"
    return f"the default; the model was trained for {n_ctx_train}"


def _longest(fits: Callable[[int], bool], most: int) -> int:
    """Return the largest context up to `most`, in whole pages, that fits; 0 if none does."""
    low, high = 0, most // PAGE
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle * PAGE) else (low, middle - 1)
    return low * PAGE
