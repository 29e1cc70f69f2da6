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
    """

    arch: str
    keys: dict[str, Any] = field(repr=False)
    tensors: dict[str, Rows] = field(repr=False)
    n_layers: int
    n_mtp: int = 0
    notes: tuple[str, ...] = ()


def layer_of(name: str) -> int | None:
    """Return the layer that a tensor's name says it belongs to, None where it says none."""
    parts = name.split(".", 2)
    return int(parts[1]) if len(parts) == 3 and parts[0] == "blk" and parts[1].isdecimal() else None
