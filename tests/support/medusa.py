"""Medusa heads: tiny files that have some, and what they say, in numpy from their description alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tests.support import tiny

from outpace.gguf.file import GGUFFile, open_gguf
from outpace.gguf.quants import dequantize


def arrays(n: int, width: int, seed: int = 0, size: float = 1.0) -> dict[str, np.ndarray]:
    """Tensors of n heads; with `size` 0 they say what the model says."""
    random = np.random.default_rng(seed)
    found = {}
    for i in range(n):
        found[f"medusa.{i}.weight"] = (size * random.normal(0, width**-0.5, (width, width))).astype(np.float32)
        found[f"medusa.{i}.bias"] = (size * random.normal(0, 0.3, width)).astype(np.float32)
    return found


def with_heads(path: Path, out: Path, n: int = 3, **options: Any) -> Path:
    """Write a file's model, in float32, with n heads of random weights."""
    with open_gguf(path) as file:
        arch = file.metadata.str("general.architecture")
        keys = {key: file.metadata[key] for key in file.metadata} | {f"{arch}.medusa.head_count": n}
        own = {name: dequantize(file.data(name), each.type, each.shape) for name, each in file.tensors.items()}
        width = file.metadata.int(f"{arch}.embedding_length")
        return tiny.write(out, keys, own | arrays(n, width, **options))


class Heads:
    """The heads of a file, every weight in float64."""

    def __init__(self, file: GGUFFile) -> None:
        self.n = file.metadata.int(f"{file.metadata.str('general.architecture')}.medusa.head_count")
        table = "output.weight" if "output.weight" in file.tensors else "token_embd.weight"

        def read(name: str) -> np.ndarray:
            info = file.tensors[name]
            return np.array(dequantize(file.data(name), info.type, info.shape), np.float64)

        self.own = [(read(f"medusa.{i}.weight"), read(f"medusa.{i}.bias")) for i in range(self.n)]
        self.matrix = read(table)

    def logits(self, hidden: np.ndarray) -> list[np.ndarray]:
        """What each head says [n, V] of hidden states [n, D]."""
        found = []
        for weight, bias in self.own:
            z = hidden.astype(np.float64) @ weight.T + bias
            found.append((hidden + z / (1 + np.exp(-z))) @ self.matrix.T)
        return found

    def drafts(self, hidden: np.ndarray, depth: int) -> list[int]:
        """The tokens they expect after the one that followed a hidden state [D]."""
        return [int(each[0].argmax()) for each in self.logits(hidden[None])[:depth]]


def tokens(n: int, n_vocab: int, seed: int = 0) -> Sequence[int]:
    """Random tokens."""
    return np.random.default_rng(seed).integers(0, n_vocab, n).tolist()
