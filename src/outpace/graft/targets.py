"""What the model says at each position of its own text: hidden states and likeliest tokens, computed once and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from outpace.backends.backend import Limits
from outpace.gguf.weights import Weights
from outpace.graft.text import Texts, load, shard_path
from outpace.graft.work import whole_folder
from outpace.graph.passes import optimise
from outpace.graph.step import PAGE, Segment, Step
from outpace.graph.trace import trace

if TYPE_CHECKING:
    from outpace.backends.backend import Backend, Executable
    from outpace.graft.design import Design

# Likeliest tokens that are kept of each position; the rest is one bucket.
TOP = 16
# A step has logits for all its rows: so many numbers of them at most, and rows.
MOST_LOGITS, MOST_ROWS = 1 << 25, 512

Progress = Callable[[str, int, int], None]


class Targets(NamedTuple):
    """What the model says after each token of a shard; arrays are mapped from disk.

    Attributes:
        texts: The shard's text.
        hidden: Hidden state of each position, float16 [T, D].
        tokens: Likeliest tokens after it, the likeliest first, int32 [T, 16]; zeros in a prompt, where nobody guesses.
        logprobs: Their log-probabilities, float16 [T, 16]; zeros there too.
    """

    texts: Texts
    hidden: NDArray[np.float16]
    tokens: NDArray[np.int32]
    logprobs: NDArray[np.float16]


def open_targets(folder: Path, i: int) -> Targets:
    """Return what was kept of shard i."""
    at = _path(folder, i)
    arrays = [np.load(at / f"{name}.npy", mmap_mode="r") for name in ("hidden", "tokens", "logprobs")]
    return Targets(load(shard_path(folder, i)), *arrays)


def compute_targets(folder: Path, n_shards: int, blueprint: Design, backend: Backend, progress: Progress) -> None:
    """Run the model over the shards' texts and keep what it says; what is there stays.

    Args:
        folder: Where the shards are.
        n_shards: How many.
        blueprint: The model.
        backend: What runs it.
        progress: Told what is done, positions done and positions in all.
    """
    missing = [i for i in range(n_shards) if not _path(folder, i).exists()]
    if not missing:
        return
    lengths = [load(shard_path(folder, i)).lengths for i in missing]
    total, done = sum(int(each.sum()) for each in lengths), 0
    executable = _compile(blueprint, backend, max(int(each.max()) for each in lengths))
    for i in missing:
        texts = load(shard_path(folder, i))
        with whole_folder(_path(folder, i)) as part:
            arrays = _empty(part, len(texts.tokens), blueprint.config.d_model, min(TOP, executable.n_vocab))
            hidden, *likeliest = arrays
            for rows, states, said in _said(executable, texts):
                hidden[rows] = states
                for array, values in zip(likeliest, said, strict=True):
                    array[rows.stop - len(values) : rows.stop] = values
                done += rows.stop - rows.start
                progress("reading it again", done, total)
            for array in arrays:
                array.flush()


def _path(folder: Path, i: int) -> Path:
    return folder / f"targets-{i:05}"


def _compile(blueprint: Design, backend: Backend, most: int) -> Executable:
    """Return the trunk, made to export every row's hidden state and logits, for texts of so many tokens."""
    weights, config, trunk = Weights(blueprint.file), blueprint.config, blueprint.definition.trunk
    plan = optimise(trace("trunk", lambda ops: trunk(ops, weights, config)))
    rows = max(PAGE, min(MOST_ROWS, MOST_LOGITS // config.n_vocab))
    return backend.compile(plan, blueprint.file, Limits(rows, rows, -(-most // PAGE)))


def _said(executable: Executable, texts: Texts) -> Iterator[tuple[slice, NDArray[Any], tuple[NDArray[Any], ...]]]:
    """Yield rows of a shard, their hidden states, and what the model says at the last of them, those of an answer."""
    most = executable.limits.max_rows
    pages = np.arange(executable.limits.n_pages, dtype=np.int32)
    begin = 0
    for length, n_prompt in zip(texts.lengths.tolist(), texts.n_prompt.tolist(), strict=True):
        for start in range(0, length, most):
            n = min(most, length - start)
            rows = slice(begin + start, begin + start + n)
            wanted = range(min(max(n_prompt - start, 0), n), n)
            step = Step(texts.tokens[rows].tolist(), [Segment(start, n, pages)], wanted, range(n))
            result = executable.run(step)
            assert result.hidden is not None
            logits = torch.from_numpy(result.logits)
            best, tokens = logits.topk(min(TOP, logits.shape[1]))
            logprobs = best - logits.logsumexp(-1, keepdim=True)
            yield rows, result.hidden, (tokens.numpy(), logprobs.numpy())
        begin += length


def _empty(folder: Path, n: int, width: int, top: int) -> list[Any]:
    kinds = {"hidden": (np.float16, width), "tokens": (np.int32, top), "logprobs": (np.float16, top)}
    return [
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, (n, size)) for name, (kind, size) in kinds.items()
    ]
