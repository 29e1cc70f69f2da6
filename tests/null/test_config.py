"""Run settings: whatever is made is in range, whatever is not says what was expected."""

import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from outpace.config import RunConfig
from outpace.errors import ConfigError


def test_the_defaults_are_in_range_and_frozen() -> None:
    config = RunConfig()
    assert RunConfig.of({}) == config
    with pytest.raises(FrozenInstanceError):
        config.threads = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("context", 0),
        ("context", "4096"),
        ("context", True),
        ("threads", 0),
        ("threads", 2000),
        ("kv_type", "f32"),
        ("spec_type", "suffixes"),
        ("spec_draft_n_max", -1),
        ("spec_draft_n_max", 65),
        ("spec_draft_n_min", 2.0),
        ("spec_draft_p_min", 1.5),
        ("spec_draft_p_min", math.nan),
        ("spec_draft_p_min", "0.5"),
        ("parallel", 0),
    ],
)
def test_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig.of({name: value})
    assert caught.value.setting == name
    assert str(caught.value).startswith(f"{name} is {value!r}; expected ")


def test_the_least_draft_cannot_be_above_the_most() -> None:
    with pytest.raises(ConfigError, match=r"spec_draft_n_min is 5; expected at most spec_draft_n_max \(4\)"):
        RunConfig(spec_draft_n_max=4, spec_draft_n_min=5)


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"the setting thread is 2; .*did you mean 'threads'\?"):
        RunConfig.of({"thread": 2})
    with pytest.raises(ConfigError, match=r"did you mean 'suffix'\?"):
        RunConfig(spec_type="sufix")
