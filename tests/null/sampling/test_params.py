"""Settings are checked when they are made, and the message says what would do."""

import dataclasses
import math

import pytest

from outpace.errors import ConfigError
from outpace.sampling import Sampler, SamplingParams


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", 1e-6),
        ("temperature", "hot"),
        ("temperature", True),
        ("top_k", -1),
        ("top_k", 1.5),
        ("top_p", 1.01),
        ("top_p", -0.1),
        ("min_p", 2),
        ("typical_p", math.nan),
        ("repeat_penalty", 0),
        ("repeat_last_n", -2),
        ("presence_penalty", math.inf),
        ("frequency_penalty", 1e9),
        ("seed", -1),
        ("seed", 2**64),
        ("logprobs", -1),
        ("logprobs", False),
        ("logit_bias", [(1, 2.0)]),
        ("logit_bias", ((1, 2.0), (1, 3.0))),
        ("logit_bias", ((-1, 2.0),)),
        ("logit_bias", ((1, math.inf),)),
        ("logit_bias", ((1, math.nan),)),
        ("logit_bias", ((1, 2.0, 3.0),)),
    ],
)
def test_bad_values_are_named(name, value):
    with pytest.raises(ConfigError, match=rf"^{name} is .*; expected ") as caught:
        SamplingParams(**{name: value})
    assert caught.value.setting == name


def test_defaults_are_llama_cpps():
    assert SamplingParams() == SamplingParams(
        temperature=0.8, top_k=40, top_p=0.95, min_p=0.05, typical_p=1.0, repeat_penalty=1.0, repeat_last_n=64
    )


def test_params_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SamplingParams().seed = 3  # type: ignore[misc]


def test_bounds_are_allowed():
    SamplingParams(
        temperature=1000, top_k=0, top_p=0, min_p=1, typical_p=0, repeat_last_n=-1, seed=2**64 - 1, logprobs=0
    )
    SamplingParams(logit_bias=((0, -math.inf), (1, 100)))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, False),
        ({"repeat_penalty": 1.1}, True),
        ({"presence_penalty": -0.5}, True),
        ({"frequency_penalty": 0.5}, True),
        ({"frequency_penalty": 0.5, "repeat_last_n": 0}, False),
        ({"repeat_last_n": 100}, False),
    ],
)
def test_history_is_needed_for_penalties_alone(settings, expected):
    params = SamplingParams(**settings)
    assert params.needs_history is expected
    assert Sampler(params, 10, reference=True).needs_history is expected


def test_bias_of_an_unknown_token_is_refused():
    with pytest.raises(ConfigError, match="logit_bias is 10; expected token ids from 0 to 9"):
        Sampler(SamplingParams(logit_bias=((10, 1.0),)), 10)
