"""From logits to a token, one transform after another: the slow twin that says what the native sampler must give.

The order, fixed and the same for every request (llama.cpp's, with the bias first):

    logit_bias -> penalties -> grammar mask -> top_k -> typical_p -> top_p -> min_p -> temperature -> + noise -> argmax

A mask of allowed tokens is -inf in the logits. Every filter sees the distribution at temperature 1 of what the filter
before it kept. Ties go to the lowest token id. If any logit is +inf, the first such token is the choice.

Sums decide where a nucleus ends, so they may not depend on the order of addition: a probability is rounded to a whole
number of 2^-30ths of the largest one, and whole numbers add up the same in any order, on any machine. A token below
2^-31 of the largest counts as nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from outpace.errors import BackendError, RequestError
from outpace.sampling.noise import gumbel
from outpace.sampling.params import SamplingParams
from outpace.sampling.polynomials import F32, exp_scaled

Ids = NDArray[np.intp]

_WEIGHT_BITS = 30  # a weight fits an int32; a million of them fit an int64
_DISTANCE_BITS = 14  # weight * distance, summed over a million tokens, fits an int64


def weights(distance: F32) -> NDArray[np.int64]:
    """Return 2^30 * e^-distance [N] rounded to whole numbers; distance is how far below the best logit."""
    return np.rint(exp_scaled(-distance, _WEIGHT_BITS)).astype(np.int64)


def bias(logits: F32, pairs: Sequence[tuple[int, float]]) -> F32:
    """Return logits [V] with the biases added; -inf forbids a token even where its logit is +inf."""
    out = logits.copy()
    for token, amount in pairs:
        out[token] = np.float32(-np.inf) if amount == -math.inf else out[token] + np.float32(amount)
    return out


def penalties(logits: F32, params: SamplingParams, recent: Sequence[int]) -> F32:
    """Return logits [V] with the three penalties taken off the tokens among the last `repeat_last_n`."""
    n = params.repeat_last_n
    out = logits.copy()
    for token, count in Counter(recent if n < 0 else recent[max(len(recent) - n, 0) :]).items():
        if not 0 <= token < len(out):
            raise RequestError(f"recent holds token {token}; expected 0 to {len(out) - 1}")
        x, repeat = out[token], np.float32(params.repeat_penalty)
        x = x / repeat if x > 0 else x * repeat
        x = x - np.float32(count) * np.float32(params.frequency_penalty)
        out[token] = x - np.float32(params.presence_penalty)
    return out


def top_k(logits: F32, ids: Ids, k: int) -> Ids:
    """Return the k of `ids` with the largest logits; 0 keeps all."""
    if k == 0 or k >= len(ids):
        return ids
    return ids[np.lexsort((ids, -logits[ids]))[:k]]


def nucleus(keys: F32, weight: NDArray[np.int64], ids: Ids, share: float) -> Ids:
    """Return the fewest `ids`, smallest key first, whose weights reach `share` of the sum; 1 keeps all."""
    if share >= 1:
        return ids
    order = np.lexsort((ids, keys))
    wanted = max(np.float64(share) * np.float64(weight.sum()), np.float64(1))  # never nothing
    reached = np.cumsum(weight[order]).astype(np.float64) >= wanted
    return ids[order[: int(np.argmax(reached)) + 1]]


def typical_p(logits: F32, ids: Ids, share: float) -> Ids:
    """Keep the tokens whose surprise is closest to the mean surprise, as many as hold `share`.

    -log p differs from the distance below the best logit by a constant, so both sides are taken as distances.

    Source: Meister et al., "Locally typical sampling" (2022).
    """
    if share >= 1:
        return ids
    distance = logits[ids].max() - logits[ids]
    weight = weights(distance)
    whole = np.rint(np.minimum(distance, np.float32(80)) * np.float32(2**_DISTANCE_BITS)).astype(np.int64)
    mean = np.float64((weight * whole).sum()) / np.float64(weight.sum()) * 2.0**-_DISTANCE_BITS
    return nucleus(np.abs(distance - np.float32(mean)), weight, ids, share)


def top_p(logits: F32, ids: Ids, share: float) -> Ids:
    """Keep the fewest most likely tokens that hold `share`. Source: Holtzman et al. (2019)."""
    if share >= 1:
        return ids
    distance = logits[ids].max() - logits[ids]
    return nucleus(distance, weights(distance), ids, share)


def min_p(logits: F32, ids: Ids, fraction: float) -> Ids:
    """Keep the tokens at least `fraction` as likely as the likeliest."""
    if fraction == 0:
        return ids
    least = logits[ids].max() + min_p_offset(fraction)
    left: Ids = ids[logits[ids] >= least]
    return left


def min_p_offset(fraction: float) -> np.float32:
    """Return how far below the best logit `min_p` reaches (a negative number)."""
    return np.float32(math.log(fraction) if fraction > 0 else -math.inf)


def inverse(temperature: float) -> np.float32:
    """Return the factor that a temperature puts on the logits; 0 for greedy, which uses none."""
    return np.float32(1 / temperature if temperature > 0 else 0)


def adjust(logits: F32, params: SamplingParams, recent: Sequence[int]) -> F32:
    """Return logits [V] after bias and penalties: all that changes a logit before the filters."""
    out = bias(logits, params.logit_bias)
    return penalties(out, params, recent) if params.needs_history else out


def kept(logits: F32, params: SamplingParams) -> Ids:
    """Return the ids that the filters leave, in no set order; `logits` [V] are adjusted and hold no +inf."""
    ids = np.flatnonzero(logits > -np.inf)
    ids = top_k(logits, ids, params.top_k)
    ids = typical_p(logits, ids, params.typical_p)
    ids = top_p(logits, ids, params.top_p)
    return min_p(logits, ids, params.min_p)


def choose(logits: F32, params: SamplingParams, position: int, recent: Sequence[int]) -> int:
    """Return the token at `position`: a pure function of its arguments, and an exact sample of the distribution.

    Args:
        logits: float32 [V], as the model wrote them.
        params: the request's settings.
        position: index of the token being chosen.
        recent: the tokens before it, the latest last; read only if `params.needs_history`.

    Raises:
        BackendError: a logit is NaN.
        RequestError: every token is masked, or `recent` holds an id outside the vocabulary.
    """
    with np.errstate(over="ignore"):
        check_numbers(logits, position)
        logits = adjust(logits, params, recent)
        best = logits.max()
        if best == np.inf:
            return int(np.argmax(logits))
        if best == -np.inf:
            raise all_masked(position)
        ids = np.sort(kept(logits, params))
        score = logits[ids]
        if params.temperature > 0:
            score = score * inverse(params.temperature) + gumbel(params.seed, position, ids)
        return int(ids[np.argmax(score)])


def check_numbers(logits: F32, position: int) -> None:
    """Raise `BackendError` if a logit is NaN."""
    broken = np.flatnonzero(np.isnan(logits))
    if len(broken):
        raise BackendError(
            f"the model wrote NaN for {len(broken)} of {len(logits)} logits at position {position} "
            f"(the first is token {broken[0]}); the weights are damaged or a kernel is wrong"
        )


def all_masked(position: int) -> RequestError:
    """Return the error for a position where no token is left to choose."""
    return RequestError(f"no token is allowed at position {position}: every logit is -inf after bias and masks")
