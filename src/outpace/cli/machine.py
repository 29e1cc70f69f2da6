"""The machine in numbers: what it is, and how fast it reads memory and multiplies integers."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from time import perf_counter
from typing import Any

from outpace import _native, env
from outpace.backends.cpu import choose_tier
from outpace.config import RunConfig
from outpace.engine.resolve import available_memory, settle_threads

# Memory read for measuring: far more than any cache holds.
PROBE_BYTES = 512 << 20
PROBES = 7

# A measurement of the integer rate takes about this long.
RATE_S = 0.05


class Probe:
    """Measures read bandwidth over memory of its own.

    State: the memory, until it is dropped.
    """

    def __init__(self, tier: str, threads: int, n_bytes: int = PROBE_BYTES) -> None:
        self._tier = tier
        self.pool = _native.Pool(threads)
        # Never so much that measuring could push the machine out of memory.
        self._memory = _native.Memory(max(min(n_bytes, available_memory() // 4), 1 << 20))

    def bandwidth(self) -> float:
        """Return the bytes a second of one pass over the memory."""
        return _native.read_bandwidth(self._tier, self.pool, self._memory)

    def best_bandwidth(self, n: int = PROBES) -> float:
        """Return the fastest of n passes: what the machine can do when nobody disturbs it."""
        return max(self.bandwidth() for _ in range(n))

    def integer_rate(self, n: int = 3) -> float:
        """Return int8 multiply-adds a second from registers, the fastest of n tries."""
        rounds = 1000
        while True:
            began = perf_counter()
            _native.integer_rate(self._tier, self.pool, rounds)
            if perf_counter() - began > RATE_S:
                return max(_native.integer_rate(self._tier, self.pool, rounds) for _ in range(n))
            rounds *= 4


def threads_of(asked: int | None) -> tuple[int, str]:
    """Return how many threads a run has, and why."""
    reasons: dict[str, str] = {}
    n = settle_threads(RunConfig(threads=asked).threads, env.read().threads, reasons)
    return n, reasons["threads"]


def cores() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tier() -> str:
    """Return the kernel tier of a run."""
    return choose_tier(env.read().tier)


def cpu_name() -> str:
    """Return the processor's own name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def total_memory() -> int:
    """Return the bytes of memory the machine has."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def card(path: Path, tier: str, threads: int, bandwidth: float) -> dict[str, Any]:
    """Return where and with what a number was measured.

    Args:
        path: The model's file.
        tier: Kernel tier.
        threads: Threads that computed.
        bandwidth: Read bandwidth, bytes a second.
    """
    import hashlib

    with path.open("rb") as file:
        first = hashlib.sha256(file.read(1 << 20)).hexdigest()[:16]
    return {
        "cpu": cpu_name(),
        "tier": tier,
        "threads": threads,
        "bandwidth_gbps": round(bandwidth / 1e9, 2),
        "commit": commit(),
        "file": path.name,
        "file_bytes": path.stat().st_size,
        "file_sha256_1m": first,
    }


def commit() -> str | None:
    """Return the commit of the sources that run, `+` after it if they differ; None outside a checkout."""
    import subprocess

    folder = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
