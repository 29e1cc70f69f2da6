"""What training, targets and files ask of a kind of head: which tensors it has, what of the model it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from outpace.gguf.file import GGUFFile
from outpace.gguf.weights import WeightRef
from outpace.graph.ops import Ops
from outpace.models.definition import Config, Definition


class Design(Protocol):
    """A model's head as its program asks for it, whether the file has one or not.

    Attributes:
        kind: Of `gguf.heads.KINDS`.
        file: The model.
        definition: Its architecture.
        config: Its numbers, with the head counted.
        prefix: What the names of the head's tensors begin with.
        shapes: Shape of each tensor to be trained, by name.
        frozen: The tensors of the file that the program reads as they are.
        has_head: Whether the file has such a head, from which training then starts.
    """

    kind: str
    file: GGUFFile
    definition: Definition
    config: Config
    prefix: str
    shapes: Mapping[str, tuple[int, ...]]
    frozen: Mapping[str, WeightRef]
    has_head: bool

    def run(self, ops: Ops) -> None:
        """Run the head's program over verbs whose tensors are looked up by name."""

    @property
    def projection(self) -> str:
        """Name of the matrix that makes logits of hidden states."""

    @property
    def embedding(self) -> str | None:
        """Name of the table that the head looks tokens up in, if it does."""

    @property
    def keys(self) -> dict[str, Any]:
        """The keys of a file with the head alone: without those of a tokenizer and of types."""
