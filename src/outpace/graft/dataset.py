"""Rows to train on: blocks of neighbouring positions, each a batch's sequence, read from what was kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from outpace.graft.shards import Shard, open_shard

# One block in so many is not trained on.
HELD_OUT = 16


class Depth(NamedTuple):
    """What the rows of a batch take and are to say at one depth; row p stands k - 1 positions on at depth k.

    Attributes:
        tokens: Their tokens [T].
        positions: Where they stand [T].
        rows: Which of them count, ascending [R].
        best: Likeliest next tokens of those, as rows of the narrowed projection, or its height for none [R, 16].
        shares: Their probabilities; 0 where there is no such row [R, 16].
    """

    tokens: Tensor
    positions: Tensor
    rows: Tensor
    best: Tensor
    shares: Tensor


class Batch(NamedTuple):
    """Some blocks.

    Attributes:
        hidden: The trunk's hidden state of the position before each row's, zeros before the first [T, D].
        sight: Which rows of its block each row sees: those before it of its own text, and itself [B, T / B, T / B].
        depths: What the rows take and are to say at each depth.
    """

    hidden: Tensor
    sight: Tensor
    depths: list[Depth]


class _Positions:
    """A shard's arrays, and what of each position is known without reading them."""

    def __init__(self, shard: Shard) -> None:
        lengths = shard.lengths
        self.shard = shard
        self.text = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        first = np.cumsum(lengths) - lengths
        self.position = (np.arange(len(self.text)) - first[self.text]).astype(np.int32)
        # Guesses are made from the first token of the answer on; after the last one there is nothing to say.
        self.is_answer = self.position >= shard.n_prompt[self.text]
        self.is_said = self.position < lengths[self.text] - 1


class Dataset:
    """The blocks of all shards, those to train on and those held out.

    Attributes:
        train: Blocks to train on, as (shard, first position) [n, 2].
        held_out: Blocks that are not trained on [m, 2].
        counts: How often each token was the likeliest, over the positions to train on [V].
        n_positions: Positions that count at depth 1 among those to train on.
    """

    def __init__(self, folder: Path, n_shards: int, n_vocab: int, block: int, n_depths: int) -> None:
        """Open the shards.

        Args:
            folder: Where they are.
            n_shards: How many.
            n_vocab: Vocabulary V.
            block: Positions of a block.
            n_depths: Depths of a batch.
        """
        self._block, self._n_depths, self._n_vocab = block, n_depths, n_vocab
        self._shards = [_Positions(open_shard(folder, i)) for i in range(n_shards)]
        self._places: Tensor | None = None
        self._n_kept = 0
        every = [(i, at) for i, known in enumerate(self._shards) for at in range(0, len(known.text), block)]
        # Neighbours share a text: what is held out is taken in runs.
        run = min(4, -(-len(every) // HELD_OUT))
        is_held = [i % (HELD_OUT * run) < run for i in range(len(every))]
        self.held_out = np.array([each for each, held in zip(every, is_held, strict=True) if held], np.int64)
        self.train = np.array([each for each, held in zip(every, is_held, strict=True) if not held], np.int64)
        self.counts = np.zeros(n_vocab, np.int64)
        self.n_positions = 0
        for i, at in self.train.tolist():
            known, rows = self._shards[i], slice(at, at + block)
            counted = known.is_answer[rows] & known.is_said[rows]
            self.n_positions += int(counted.sum())
            self.counts += np.bincount(known.shard.best[rows, 0][counted], minlength=n_vocab)

    def narrow(self, most: int) -> NDArray[np.int64]:
        """Choose the tokens that guesses may be, and speak of them from here on by their place among these.

        Args:
            most: How many at most.

        Returns:
            The tokens that were the likeliest somewhere, the most frequent first.
        """
        order = np.argsort(-self.counts, kind="stable")[:most]
        kept: NDArray[np.int64] = order[self.counts[order] > 0]
        places = np.full(self._n_vocab, len(kept), np.int64)
        places[kept] = np.arange(len(kept))
        self._places, self._n_kept = torch.from_numpy(places), len(kept)
        return kept

    def batch(self, blocks: NDArray[np.int64], n_depths: int | None = None) -> Batch:
        """Read blocks [B, 2]; they must have been narrowed before.

        Args:
            blocks: Which.
            n_depths: Depths of the batch, at most the dataset's; all of them if not given.
        """
        assert self._places is not None, "tokens are not chosen yet"
        read = [self._read(self._shards[i], at) for i, at in blocks.tolist()]
        hidden, text, position, counted, tokens, best, logprobs = (
            torch.from_numpy(np.stack(each)) for each in zip(*read, strict=True)
        )
        n = self._block
        sight = (text[:, :n, None] == text[:, None, :n]).tril()
        depths = []
        for k in range(n_depths or self._n_depths):
            rows = slice(k, k + n)
            # Guessing begins in the answer, and what is guessed lies in the same text.
            counts = (
                (counted[:, :n, 0] & counted[:, rows, 1] & (text[:, rows] == text[:, :n])).flatten().nonzero()[:, 0]
            )
            places = self._places[best[:, rows].flatten(0, 1)[counts].long()]
            shares = logprobs[:, rows].flatten(0, 1)[counts].float().exp() * (places < self._n_kept)
            depths.append(Depth(tokens[:, rows].flatten().long(), position[:, rows].flatten(), counts, places, shares))
        return Batch(hidden.flatten(0, 1).float(), sight, depths)

    def _read(self, known: _Positions, at: int) -> Sequence[NDArray[np.generic]]:
        """Return a block's arrays, longer by the depths after the first; past the shard's end nothing counts."""
        n = self._block + self._n_depths - 1
        end = min(at + n, len(known.text))
        rows, missing = slice(at, end), at + n - end
        before = slice(max(at - 1, 0), at + self._block - 1)
        hidden = np.zeros((self._block, known.shard.hidden.shape[1]), np.float16)
        given = known.shard.hidden[before]
        offset = 0 if at else 1
        hidden[offset : offset + len(given)] = given[: self._block - offset]
        hidden[: min(end - at, self._block)][known.position[at : min(end, at + self._block)] == 0] = 0
        counted = np.stack([known.is_answer[rows], known.is_said[rows]], 1)
        arrays = (
            known.text[rows],
            known.position[rows],
            counted,
            known.shard.text[rows],
            known.shard.best[rows],
            known.shard.logprobs[rows],
        )
        return hidden, *(np.pad(each, ((0, missing), *((0, 0),) * (each.ndim - 1))) for each in arrays)
