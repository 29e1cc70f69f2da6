"""OUTPACE_* variables: typed, bounded, and none unknown."""

from pathlib import Path

import pytest

from outpace import env
from outpace.errors import ConfigError


def test_nothing_set_gives_the_documented_defaults() -> None:
    read = env.read({})
    assert read == env.Environment(cache=Path("~/.cache/outpace").expanduser(), tier=None, threads=None)


def test_the_cache_follows_xdg_and_then_its_own_variable() -> None:
    assert env.read({"XDG_CACHE_HOME": "/x"}).cache == Path("/x/outpace")
    assert env.read({"XDG_CACHE_HOME": "/x", "OUTPACE_CACHE": "/y"}).cache == Path("/y")


def test_every_variable_arrives() -> None:
    read = env.read({"OUTPACE_TIER": "avx2", "OUTPACE_THREADS": "3", "OUTPACE_CACHE": "", "OTHER": "x"})
    assert (read.tier, read.threads) == ("avx2", 3)


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²"])
def test_threads_must_be_a_whole_number(text: str) -> None:
    with pytest.raises(ConfigError, match=r"OUTPACE_THREADS is .*; expected a whole number from 1 up"):
        env.read({"OUTPACE_THREADS": text})


def test_an_unknown_tier_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"expected one of avx512, avxvnni, avx2, portable; did you mean 'avx512'\?"):
        env.read({"OUTPACE_TIER": "avx_512"})


def test_an_unknown_variable_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"OUTPACE_TRHEADS is '4'; .*did you mean 'OUTPACE_THREADS'\?"):
        env.read({"OUTPACE_TRHEADS": "4"})
