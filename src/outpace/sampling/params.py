"""What a caller may ask of the sampler, checked once and then frozen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from outpace.errors import ConfigError

_Check = tuple[Callable[[float], bool], str]

# A temperature below the lower bound would overflow logits that a real model writes; 0 is greedy.
_FLOATS: dict[str, _Check] = {
    "temperature": (lambda x: x == 0 or 1e-3 <= x <= 1e3, "0 (greedy) or a number from 0.001 to 1000"),
    "top_p": (lambda x: 0 <= x <= 1, "a number from 0 to 1 (1 is off)"),
    "min_p": (lambda x: 0 <= x <= 1, "a number from 0 to 1 (0 is off)"),
    "typical_p": (lambda x: 0 <= x <= 1, "a number from 0 to 1 (1 is off)"),
    "repeat_penalty": (lambda x: 1e-3 <= x <= 1e3, "a number from 0.001 to 1000 (1 is off)"),
    "presence_penalty": (lambda x: abs(x) <= 1e3, "a number from -1000 to 1000 (0 is off)"),
    "frequency_penalty": (lambda x: abs(x) <= 1e3, "a number from -1000 to 1000 (0 is off)"),
}
_INTS: dict[str, _Check] = {
    "top_k": (lambda x: 0 <= x < 2**31, "a whole number of 0 (off) or more"),
    "repeat_last_n": (lambda x: -1 <= x < 2**31, "a whole number of tokens: 0 (off) or more, or -1 (all of them)"),
    "seed": (lambda x: 0 <= x < 2**64, "a whole number from 0 to 2^64 - 1"),
}


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """The sampling settings of one request. Names and defaults are those of llama.cpp's command line.

    Args:
        temperature: divides the logits before noise is added; 0 adds no noise, which is greedy decoding.
        top_k: keep the k most likely tokens; 0 keeps all.
        top_p: keep the fewest most likely tokens that hold this share of the probability.
        min_p: keep tokens at least this fraction as likely as the likeliest.
        typical_p: keep the fewest tokens, closest to the distribution's entropy first, that hold this share.
        repeat_penalty: positive logits of recent tokens are divided by it, negative ones multiplied.
        repeat_last_n: how many of the last tokens, prompt included, all three penalties look at; -1 is all.
        presence_penalty: taken off the logit of each recent token.
        frequency_penalty: taken off once for every time the token occurs among the recent ones.
        logit_bias: (token id, bias) pairs added to the logits; a bias of -inf forbids the token.
        seed: with the position, the whole source of noise.
        logprobs: how many of the likeliest tokens to report with each choice; None reports nothing.

    Raises:
        ConfigError: a value is out of range; the message names it and says what would do.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int = 0
    logprobs: int | None = None

    def __post_init__(self) -> None:
        for name, (fits, expected) in _FLOATS.items():
            value = getattr(self, name)
            if not _is_number(value) or not math.isfinite(value) or not fits(value):
                raise ConfigError(name, value, expected)
        for name, (fits, expected) in _INTS.items():
            value = getattr(self, name)
            if not _is_int(value) or not fits(value):
                raise ConfigError(name, value, expected)
        if self.logprobs is not None and not (_is_int(self.logprobs) and 0 <= self.logprobs < 2**31):
            raise ConfigError("logprobs", self.logprobs, "None, or a whole number of 0 or more")
        self._check_bias()

    def _check_bias(self) -> None:
        expected = "a tuple of (token id, bias) pairs, each id once, biases from -1000 to 1000 or -inf"
        if not isinstance(self.logit_bias, tuple):
            raise ConfigError("logit_bias", self.logit_bias, expected)
        seen: set[int] = set()
        for pair in self.logit_bias:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise ConfigError("logit_bias", pair, expected)
            token, bias = pair
            if not _is_int(token) or token < 0 or token in seen:
                raise ConfigError("logit_bias", pair, expected)
            if not _is_number(bias) or not (abs(bias) <= 1e3 or bias == -math.inf):
                raise ConfigError("logit_bias", pair, expected)
            seen.add(token)

    @classmethod
    def greedy(cls) -> SamplingParams:
        """Return the settings that always take the likeliest token, with nothing else switched on."""
        return cls(temperature=0.0, top_k=0, top_p=1.0, min_p=0.0)

    @property
    def needs_history(self) -> bool:
        """Whether a choice depends on the tokens before it (a penalty is on)."""
        is_on = self.repeat_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0
        return is_on and self.repeat_last_n != 0


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
