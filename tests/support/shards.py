"""Shards of text with what a model would have said at each position, written as training keeps them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Text(NamedTuple):
    """A text: its tokens [n], how many of them are a prompt, the likeliest tokens [n, 3] and the states [n, D]."""

    tokens: NDArray[np.int32]
    n_prompt: int
    best: NDArray[np.int32]
    hidden: NDArray[np.float16]


SHARES = (0.5, 0.25, 0.125)


def draw(random: np.random.Generator, n_vocab: int, hidden: Any) -> Text:
    """Return a text of random tokens; `hidden` makes its states of their number."""
    n_prompt, n = int(random.integers(1, 8)), int(random.integers(9, 40))
    tokens = random.integers(0, n_vocab, n).astype(np.int32)
    best = np.stack([random.permutation(n_vocab)[: len(SHARES)] for _ in range(n)]).astype(np.int32)
    return Text(tokens, n_prompt, best, hidden(n).astype(np.float16))


def write(folder: Path, i: int, given: Sequence[Text]) -> None:
    """Write shard i."""
    from outpace.graft.shards import Shard, save_shard

    n = sum(len(each.tokens) for each in given)
    shard = Shard(
        text=np.concatenate([each.tokens for each in given]),
        lengths=np.array([len(each.tokens) for each in given], np.int32),
        n_prompt=np.array([each.n_prompt for each in given], np.int32),
        hidden=np.concatenate([each.hidden for each in given]),
        best=np.concatenate([each.best for each in given]),
        logprobs=np.tile(np.log(SHARES), (n, 1)).astype(np.float16),
    )
    save_shard(folder, i, shard)
