"""Weights that exist on paper only: any name and shape is there, so a model of any size can be traced."""

from collections.abc import Callable

from outpace.gguf.types import GGMLType, row_bytes
from outpace.gguf.weights import WeightRef


class PaperWeights:
    """Answers like `Weights`; `kind` gives each tensor's type, `absent` the names it does not have."""

    def __init__(self, kind: Callable[[str], GGMLType], absent: Callable[[str], bool], prefix: str = "") -> None:
        self._kind, self._absent, self._prefix = kind, absent, prefix

    def __call__(self, name: str, *shape: int) -> WeightRef:
        n_bytes = row_bytes(self._kind(name), shape[-1])
        for size in shape[:-1]:
            n_bytes *= size
        return WeightRef(self._prefix + name, self._kind(name), shape, n_bytes)

    def has(self, name: str) -> bool:
        return not self._absent(self._prefix + name)

    def scoped(self, prefix: str) -> "PaperWeights":
        return PaperWeights(self._kind, self._absent, self._prefix + prefix)
