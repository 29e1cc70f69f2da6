"""What a model file is to hold, before types are chosen: keys, and tensors that are read when they are written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from outpace.convert.rows import Rows


@dataclass(frozen=True)
class Content:
    """A model, from wherever it comes.

    Attributes:
        arch: Its `general.architecture`.
        keys: Metadata in the order of the file, without what depends on the types of the tensors.
        tensors: Name -> tensor, in the order of the file.
        n_layers: Layers of the trunk; layers from here on predict further tokens (MTP).
        n_mtp: How many of those there are.
        notes: What a person should know about the conversion.
        n_medusa: Medusa heads.
    """

    arch: str
    keys: dict[str, Any] = field(repr=False)
    tensors: dict[str, Rows] = field(repr=False)
    n_layers: int
    n_mtp: int = 0
    notes: tuple[str, ...] = ()
    n_medusa: int = 0

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of heads that it has (`gguf.heads.KINDS`)."""
        return ("mtp",) * (self.n_mtp > 0) + ("medusa",) * (self.n_medusa > 0)
