"""The sampler of one request: logits and a position in, a token out, nothing kept between calls."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from outpace.errors import ConfigError
from outpace.sampling import transforms
from outpace.sampling.params import SamplingParams
from outpace.sampling.polynomials import F32, exp_scaled

if TYPE_CHECKING:
    from outpace import _native


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token with what the model itself thought of it.

    Log-probabilities are those of the raw logits: no bias, penalty, filter or temperature is in them.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


Tokens: TypeAlias = NDArray[np.int32]
Accept: TypeAlias = Callable[[Sequence[int], "_native.Program", int, int, Sequence[int], int], tuple[int, int]]
Chain: TypeAlias = Callable[..., tuple[list[int], list[float], int]]


# What the native sampler gives in place of a token where every one is masked.
_ALL_MASKED = -2


class _Chooser(Protocol):
    """What the twin and the native sampler both are."""

    def choose(self, logits: F32, position: int, recent: Sequence[int]) -> int:
        """Return a token, or raise for a row without one."""

    def guess(
        self, logits: F32, tokens: Tokens | None, position: int, recent: Sequence[int]
    ) -> tuple[int, float] | None:
        """Return a token and its chance, or None where none is allowed (`Sampler.guess`)."""

    def partition(self, logits: F32, count: int) -> tuple[float, float, list[int]]:
        """Return (largest logit, sum of e^(logit - largest), the ids of the `count` largest)."""


class Sampler:
    """Chooses tokens for one request. Pure: the same call gives the same token, however often it is made.

    Args:
        params: the request's settings.
        n_vocab: V, the length of every row of logits.
        tier: native kernel tier; None takes the fastest this CPU has. Every tier gives the same tokens.
        reference: use the numpy twin, as happens too where the native module is not built.

    Raises:
        ConfigError: `logit_bias` names a token outside the vocabulary.

    Cost: microseconds a call, growing with V; greedy least, penalties and logit bias add a copy of the row.
    """

    def __init__(
        self, params: SamplingParams, n_vocab: int, tier: str | None = None, *, reference: bool = False
    ) -> None:
        for token, _ in params.logit_bias:
            if token >= n_vocab:
                raise ConfigError("logit_bias", token, f"token ids from 0 to {n_vocab - 1}")
        self.params = params
        self.n_vocab = n_vocab
        self.needs_history = params.needs_history
        module = None if reference else _native_module()
        self._chooser: _Chooser = Native(module, params, n_vocab, tier) if module else Twin(params, n_vocab)
        self._choose = self._chooser.choose
        # `speculate.accept` over `choose` in one call: how many tokens of a draft stand, and the one chosen after them
        # or a negative number if there is none (`choose` says why). Takes the draft, the native program that ran, the
        # first row, the position of the token it chooses, as many of the latest tokens as penalties look at, and that
        # number (0: none are on). None for the twin.
        native = self._chooser if isinstance(self._chooser, Native) else None
        self.accept: Accept | None = native.accept if native else None
        # `guess` again and again, each time from what a draft program makes of the last one (`_native.Sampler.chain`).
        # None for the twin, and where penalties look at the tokens before.
        self.chain: Chain | None = native.chain if native and not self.needs_history else None

    def choose(self, logits: F32, position: int, recent: Sequence[int] = ()) -> int:
        """Return the token at `position`.

        Args:
            logits: float32 [V], contiguous (a row of a larger array will do), as the model wrote them.
            position: index in the text of the token being chosen; with the seed, the key of the noise.
            recent: the tokens before it, the latest last; read only if `needs_history`.

        Raises:
            BackendError: a logit is NaN.
            RequestError: every token is masked, or `recent` holds an id outside the vocabulary.
        """
        return self._choose(logits, position, recent if self.needs_history else ())

    def guess(
        self, logits: F32, tokens: Tokens | None, position: int, recent: Sequence[int] = ()
    ) -> tuple[int, float] | None:
        """Guess what `choose` will return, by its settings and its noise, from other logits, of some tokens alone.

        Args:
            logits: float32 [N], contiguous: those of `tokens`. Every other token counts as masked.
            tokens: int32 [N], none twice, best beginning with 0, 1, 2, ...; None for all in order, N = V.
            position: as for `choose`.
            recent: as for `choose`.

        Returns:
            The token and the share that the logits give it as they are; None where no token is allowed.

        Raises:
            BackendError: a logit is NaN.
            RequestError: `recent` holds an id outside the vocabulary.

        Cost: grows with N, not with V.
        """
        return self._chooser.guess(logits, tokens, position, recent if self.needs_history else ())

    def choose_with_logprobs(self, logits: F32, position: int, recent: Sequence[int] = ()) -> Choice:
        """Return the token at `position` with its log-probability and the `params.logprobs` likeliest tokens.

        Arguments and errors are those of `choose`. Log-probabilities are of the raw logits (`Choice`).
        """
        token = self.choose(logits, position, recent)
        best, total, ids = self._chooser.partition(logits, self.params.logprobs or 0)
        log_total = math.log(total)

        def logprob(i: int) -> float:
            x = float(logits[i])
            return (0.0 if x == best else x - best) - log_total

        return Choice(token, logprob(token), tuple((i, logprob(i)) for i in ids))


class Twin:
    """The sampler in numpy: slow, and the definition of what the native one returns."""

    def __init__(self, params: SamplingParams, n_vocab: int) -> None:
        self.params, self.n_vocab = params, n_vocab

    def choose(self, logits: F32, position: int, recent: Sequence[int]) -> int:
        """Return a token (see `transforms.choose`)."""
        if logits.shape != (self.n_vocab,) or logits.dtype != np.float32:
            raise ValueError(f"logits are {logits.dtype} {logits.shape}; expected float32 ({self.n_vocab},)")
        return transforms.choose(logits, self.params, position, recent)

    def guess(
        self, logits: F32, tokens: Tokens | None, position: int, recent: Sequence[int]
    ) -> tuple[int, float] | None:
        """Return a token and its chance: of the row of the whole vocabulary that the logits are a part of."""
        wide = logits
        if tokens is not None:
            wide = np.full(self.n_vocab, -np.inf, np.float32)
            wide[tokens] = logits
        transforms.check_numbers(wide, position)
        with np.errstate(over="ignore"):
            if transforms.adjust(wide, self.params, recent).max() == -np.inf:
                return None
        token = self.choose(wide, position, recent)
        best, total, _ = self.partition(logits, 0)
        return token, math.exp(float(wide[token]) - best) / total if best < math.inf else 0.0

    def partition(self, logits: F32, count: int) -> tuple[float, float, list[int]]:
        """Return (largest logit, sum of e^(logit - largest), the ids of the `count` largest).

        Token v is added, in float64, to lane v % 16 in order of v; lanes combine as halves: 0+8, ..., then 0+4, ...
        """
        best = logits.max()
        top = np.lexsort((np.arange(len(logits)), -logits))[:count].tolist()
        if best == np.inf:
            return math.inf, float(np.count_nonzero(logits == best)), top
        terms = np.zeros((-(-len(logits) // 16), 16), np.float64)
        with np.errstate(over="ignore"):
            terms.reshape(-1)[: len(logits)] = exp_scaled(logits - best, 0)
        lanes = np.add.accumulate(terms, axis=0)[-1]
        while len(lanes) > 1:
            lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
        return float(best), float(lanes[0]), top


class Native:
    """The sampler in the native module: the same tokens and numbers as `Twin`, in microseconds."""

    def __init__(self, module: _NativeModule, params: SamplingParams, n_vocab: int, tier: str | None) -> None:
        self.params, self.n_vocab = params, n_vocab
        self._sampler = module.Sampler(
            tier or module.supported_tiers()[0],
            n_vocab,
            seed=params.seed,
            inverse_temperature=float(transforms.inverse(params.temperature)),
            top_k=params.top_k,
            typical_p=params.typical_p,
            top_p=params.top_p,
            min_p_offset=float(transforms.min_p_offset(params.min_p)),
            repeat_penalty=params.repeat_penalty,
            presence_penalty=params.presence_penalty,
            frequency_penalty=params.frequency_penalty,
            logit_bias=params.logit_bias,
        )
        self.partition = self._sampler.partition
        self.accept: Accept = self._sampler.accept
        self.chain: Chain = self._sampler.chain

    def choose(self, logits: F32, position: int, recent: Sequence[int]) -> int:
        """Return a token (see `transforms.choose`)."""
        token = self._sampler.choose(logits, position, self._window(recent) if recent else ())
        if token >= 0:
            return token
        transforms.check_numbers(logits, position)
        transforms.adjust(logits, self.params, recent)  # raises for an unknown token
        raise transforms.all_masked(position)

    def guess(
        self, logits: F32, tokens: Tokens | None, position: int, recent: Sequence[int]
    ) -> tuple[int, float] | None:
        """Return a token and its chance, as `Twin.guess` does."""
        found = self._sampler.guess(logits, tokens, position, self._window(recent) if recent else ())
        if found[0] >= 0:
            return found
        # The twin knows why there is none.
        return (
            None if found[0] == _ALL_MASKED else Twin(self.params, self.n_vocab).guess(logits, tokens, position, recent)
        )

    def _window(self, recent: Sequence[int]) -> Sequence[int]:
        n = self.params.repeat_last_n
        return recent if n < 0 else recent[-n:]


class _NativeSampler(Protocol):
    """`outpace._native.Sampler`; a negative token is a reason for having none."""

    def choose(self, logits: F32, position: int, recent: Sequence[int]) -> int: ...
    def guess(self, logits: F32, tokens: Tokens | None, position: int, recent: Sequence[int]) -> tuple[int, float]: ...
    @property
    def accept(self) -> Accept: ...
    @property
    def chain(self) -> Chain: ...
    def partition(self, logits: F32, count: int) -> tuple[float, float, list[int]]: ...


class _NativeModule(Protocol):
    """The part of `outpace._native` used here."""

    def supported_tiers(self) -> list[str]: ...
    def Sampler(self, tier: str, n_vocab: int, **settings: object) -> _NativeSampler: ...  # noqa: N802


def _native_module() -> _NativeModule | None:
    try:
        module = importlib.import_module("outpace._native")
    except ImportError:
        return None
    return cast("_NativeModule", module) if hasattr(module, "Sampler") else None
