"""`outpace doctor`: what this machine has, what serves it, and how fast it is."""

from __future__ import annotations

import json
import platform
from typing import Any

import typer

from outpace.cli import options as o
from outpace.errors import readable_bytes

LIBRARIES = ("numpy", "tokenizers", "jinja2", "huggingface_hub", "typer", "rich")


def doctor(threads: o.Threads = None, as_json: o.Json = False) -> None:
    """Tell what this machine has and how fast it reads memory: the ceiling of plain decoding."""
    found = examine(threads)
    tiers, memory = found["tiers"], found["memory"]
    forced = f" (forced by OUTPACE_TIER={tiers['forced']})" if tiers["forced"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    rows = {
        "CPU": f"{found['cpu']}, {found['cores']} CPUs for this process",
        "tier": f"{tiers['chosen']}{forced}; built: {', '.join(tiers['built'])}; "
        f"this CPU runs: {', '.join(tiers['supported'])}",
        "threads": f"{found['threads']}, {found['threads_reason']}",
        "bandwidth": f"{found['bandwidth_gbps']:.1f} GB/s read: a model of 1 GB writes at most "
        f"{found['bandwidth_gbps']:.0f} tokens/s plainly",
        "integers": f"{found['integer_gmacs']:.0f} G int8 multiply-adds/s",
        "memory": f"{readable_bytes(memory['available_bytes'])} available of {readable_bytes(memory['total_bytes'])}",
        "versions": versions,
        "cache": found["cache"],
    }
    for name, value in rows.items():
        typer.echo(f"{name:<10} {value}")
    if as_json:
        typer.echo(json.dumps(found))


def examine(threads: int | None = None) -> dict[str, Any]:
    """Return what `doctor --json` prints."""
    from importlib.metadata import version

    from outpace import _native, env
    from outpace.cli import machine
    from outpace.engine.resolve import available_memory

    environment = env.read()
    n_threads, reason = machine.threads_of(threads)
    tier = machine.tier()
    available = available_memory()
    probe = machine.Probe(tier, n_threads)
    return {
        "cpu": machine.cpu_name(),
        "cores": machine.cores(),
        "tiers": {
            "built": _native.built_tiers(),
            "supported": _native.supported_tiers(),
            "chosen": tier,
            "forced": environment.tier,
        },
        "threads": n_threads,
        "threads_reason": reason,
        "bandwidth_gbps": round(probe.best_bandwidth() / 1e9, 2),
        "integer_gmacs": round(probe.integer_rate() / 1e9, 1),
        "memory": {"total_bytes": machine.total_memory(), "available_bytes": available},
        "versions": {"outpace": version("outpace"), "python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
        "cache": str(environment.cache),
    }
