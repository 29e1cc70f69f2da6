"""The environment, read in one place: every OUTPACE_* variable, typed, and unknown ones refused."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from outpace.errors import ConfigError, nearest

PREFIX = "OUTPACE_"

# name -> (what it does, what holds when it is not set). docs/reference/environment.md is written from this table.
VARIABLES: dict[str, tuple[str, str]] = {
    "OUTPACE_CACHE": (
        "The folder that fetched models are kept in.",
        "`$XDG_CACHE_HOME/outpace`, or `~/.cache/outpace`",
    ),
    "OUTPACE_TIER": ("Force the CPU tier: `avx512`, `avxvnni`, `avx2` or `portable`.", "the widest the CPU has"),
    "OUTPACE_THREADS": ("How many threads compute, from 1 up.", "one for each CPU this process may use"),
}
TIERS = ("avx512", "avxvnni", "avx2", "portable")


@dataclass(frozen=True)
class Environment:
    """What the environment asks for.

    Attributes:
        cache: Folder of fetched models.
        tier: CPU tier to force, or None for the widest the CPU has.
        threads: Number of threads, or None to choose.
    """

    cache: Path
    tier: str | None = None
    threads: int | None = None


def read(environ: Mapping[str, str] = os.environ) -> Environment:
    """Return the OUTPACE_* settings; a variable set to the empty string counts as not set.

    Raises:
        ConfigError: A variable is out of range, or an OUTPACE_* name is not known.
    """
    for name in environ:
        if name.startswith(PREFIX) and name not in VARIABLES:
            expected = f"one of {', '.join(VARIABLES)}{nearest(name, VARIABLES)}"
            raise ConfigError(f"the environment variable {name}", environ[name], expected)
    return Environment(cache=_cache(environ), tier=_tier(environ), threads=_threads(environ))


def _cache(environ: Mapping[str, str]) -> Path:
    if chosen := environ.get("OUTPACE_CACHE"):
        return Path(chosen).expanduser()
    xdg = environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path("~/.cache").expanduser()) / "outpace"


def _tier(environ: Mapping[str, str]) -> str | None:
    tier = environ.get("OUTPACE_TIER")
    if tier and tier not in TIERS:
        raise ConfigError("OUTPACE_TIER", tier, f"one of {', '.join(TIERS)}{nearest(tier, TIERS)}")
    return tier or None


def _threads(environ: Mapping[str, str]) -> int | None:
    text = environ.get("OUTPACE_THREADS")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ConfigError("OUTPACE_THREADS", text, "a whole number from 1 up")
    return int(text)
