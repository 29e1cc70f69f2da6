"""Text and what the model says at each position of it, in shards on disk: each is there as a whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from outpace.graft.work import damaged, whole_folder


class Shard(NamedTuple):
    """Texts, one after another, and what the model says after each token; arrays on disk are mapped.

    Attributes:
        text: Tokens, int32 [T].
        lengths: Tokens of each text, prompt and answer, int32 [N].
        n_prompt: Tokens of each prompt, int32 [N].
        hidden: Hidden state of each position, float16 [T, D].
        best: Likeliest tokens after it, the likeliest first, int32 [T, K]; zeros where nobody guesses: in a prompt, but
            for its last position.
        logprobs: Their log-probabilities, float16 [T, K]; zeros there too.
    """

    text: NDArray[np.int32]
    lengths: NDArray[np.int32]
    n_prompt: NDArray[np.int32]
    hidden: NDArray[np.float16]
    best: NDArray[np.int32]
    logprobs: NDArray[np.float16]

    @property
    def n_written(self) -> int:
        """Tokens of all answers."""
        return int(self.lengths.sum() - self.n_prompt.sum())


def shard_path(folder: Path, i: int) -> Path:
    """Return where shard i is."""
    return folder / f"shard-{i:05}"


def open_shard(folder: Path, i: int) -> Shard:
    """Return a shard that is there.

    Raises:
        ModelFileError: It cannot be read.
    """
    path = shard_path(folder, i)
    try:
        return Shard(*(np.load(path / f"{name}.npy", mmap_mode="r") for name in Shard._fields))
    except (OSError, ValueError, EOFError) as error:
        raise damaged(path) from error


def save_shard(folder: Path, i: int, shard: Shard) -> None:
    """Keep a shard."""
    with whole_folder(shard_path(folder, i)) as part:
        for name in Shard._fields:
            np.save(part / f"{name}.npy", getattr(shard, name))
