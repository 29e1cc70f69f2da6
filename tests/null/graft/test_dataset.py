"""Batches against the texts they come from: each row's token, state, sight and target, found by its position alone."""

from pathlib import Path

import numpy as np
import pytest
from tests.support import shards

pytest.importorskip("torch", reason="training needs torch")

from outpace.graft.dataset import Dataset

V, D, BLOCK, DEPTHS = 50, 4, 16, 3


def _texts(i: int, random: np.random.Generator) -> list[shards.Text]:
    """Return texts of shard i whose states tell their shard, text and position."""

    def states(text: int, n: int) -> np.ndarray:
        return np.stack([np.full(n, i), np.full(n, text), np.arange(n), np.ones(n)], 1)

    return [shards.draw(random, V, lambda n, text=text: states(text, n)) for text in range(30)]


def test_every_row_of_every_block_is_what_its_text_says(tmp_path: Path):
    random = np.random.default_rng(0)
    written = [_texts(i, random) for i in range(2)]
    for i, texts in enumerate(written):
        shards.write(tmp_path, i, texts)
    data = Dataset(tmp_path, 2, V, BLOCK, DEPTHS)
    kept = data.narrow(40).tolist()
    assert len(kept) == 40 and (np.diff(data.counts[kept]) <= 0).all()
    blocks = np.concatenate([data.train, data.held_out])
    batch = data.batch(blocks)
    places = [[(text, p) for text, each in enumerate(shard) for p in range(len(each.tokens))] for shard in written]
    hidden = batch.hidden.numpy().reshape(len(blocks), BLOCK, D)
    n_counted = [0] * DEPTHS
    for b, (shard, at) in enumerate(blocks.tolist()):
        rows = places[shard][at : at + BLOCK]
        for j, (text, p) in enumerate(rows):
            given = written[shard][text]
            assert hidden[b, j].tolist() == ([shard, text, p - 1, 1] if p else [0, 0, 0, 0])
            seen = [i for i, (other, _) in enumerate(rows) if other == text and i <= j]
            assert np.flatnonzero(batch.sight[b, j].numpy()).tolist()[: len(seen)] == seen
            for k, depth in enumerate(batch.depths):
                row, target = b * BLOCK + j, p + k
                is_counted = p >= given.n_prompt and target < len(given.tokens) - 1
                found = np.flatnonzero(depth.rows.numpy() == row)
                assert len(found) == is_counted
                if is_counted:
                    n_counted[k] += 1
                    assert depth.tokens[row] == given.tokens[target] and depth.positions[row] == target
                    for token, place, share in zip(
                        given.best[target], depth.best[found[0]], depth.shares[found[0]], strict=True
                    ):
                        assert int(place) == (kept.index(token) if token in kept else len(kept))
                        assert (float(share) > 0) == (token in kept)
    lengths = [len(each.tokens) - each.n_prompt for shard in written for each in shard]
    assert n_counted == [sum(max(n - k, 0) for n in lengths) for k in range(1, DEPTHS + 1)]
    assert 0 < len(data.held_out) < len(data.train) / 8
