"""Asking is the manifest: a model names each tensor and the shape it expects, and what nobody named is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NoReturn

from outpace.errors import ModelFileError
from outpace.gguf.file import GGUFFile
from outpace.gguf.types import GGMLType


@dataclass(frozen=True, slots=True)
class WeightRef:
    """A tensor somebody asked for, by name; its bytes are `file.data(name)`.

    Attributes:
        name: Its full name in the file.
        type: Element type.
        shape: Sizes, outermost first.
        n_bytes: Bytes in the file.
        rows_of: Where it is made after loading, of rows of another: that one. The file does not have it then.
    """

    name: str
    type: GGMLType
    shape: tuple[int, ...]
    n_bytes: int
    rows_of: WeightRef | None = None


class Weights:
    """The tensors of a file, asked for by name and expected shape. Reads no tensor bytes.

    State: which tensors were asked for, shared by all scopes of one file.
    """

    def __init__(self, file: GGUFFile) -> None:
        self.file = file
        self.prefix = ""
        self._asked: set[str] = set()

    def __call__(self, name: str, *shape: int) -> WeightRef:
        """Return the tensor `prefix + name`.

        Args:
            name: Its name inside this scope.
            shape: The sizes expected, outermost first: `rows, columns` for a matrix.

        Raises:
            ModelFileError: No such tensor (names the nearest), or another shape (names both).
        """
        full = self.prefix + name
        info = self.file.tensors.get(full)
        if info is None:
            self._fail(full, f"the file does not have it; expected shape {_text(shape)}")
        if info.shape != shape:
            self._fail(full, f"expected shape {_text(shape)}, found {_text(info.shape)}")
        self._asked.add(full)
        return WeightRef(full, info.type, info.shape, info.n_bytes)

    def has(self, name: str) -> bool:
        """Return whether the file has the tensor `prefix + name`; does not count as asking for it."""
        return self.prefix + name in self.file.tensors

    def scoped(self, prefix: str) -> Weights:
        """Return a view in which names begin after `prefix`: `w.scoped("blk.3.")("attn_q.weight", ...)`."""
        inner = Weights(self.file)
        inner.prefix, inner._asked = self.prefix + prefix, self._asked
        return inner

    def unused(self) -> tuple[str, ...]:
        """Return the names of all tensors of the file, in its order, that nobody has asked for."""
        return tuple(name for name in self.file.tensors if name not in self._asked)

    def _fail(self, name: str, problem: str) -> NoReturn:
        near = get_close_matches(name, _others(name, self.file.tensors), n=3, cutoff=0.5)
        shapes = [f"{each} {_text(self.file.tensors[each].shape)}" for each in near]
        hint = f"; near it: {', '.join(shapes)}" if near else ""
        raise ModelFileError(self.file.path_of(name), problem + hint, f"tensor '{name}'")


def _others(name: str, names: Iterable[str]) -> list[str]:
    return [each for each in names if each != name]


def _text(shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"
