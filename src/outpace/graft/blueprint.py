"""Which tensors a head of a model has: what its draft program asks for, and the trunk layer that each starts from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

from outpace.errors import ModelFileError, UnsupportedError
from outpace.gguf.file import GGUFFile
from outpace.gguf.heads import BY_TOKEN, count_key, is_by_layer, keys_of
from outpace.gguf.metadata import Metadata
from outpace.gguf.types import GGMLType, ValueType
from outpace.gguf.weights import WeightRef, Weights
from outpace.gguf.writer import Typed, keys_as_they_are
from outpace.graph.ops import Ops
from outpace.graph.trace import trace
from outpace.models import DEFINITIONS, find
from outpace.models.definition import Config, Definition

# What a head may have beside a block's own tensors and need not: a norm at its end.
_OWN_NORM = "nextn.shared_head_norm.weight"


class Blueprint:
    """A model's head as its draft program asks for it, whether the file has one or not.

    Attributes:
        kind: `mtp`, of `gguf.heads.KINDS`.
        file: The model.
        definition: Its architecture.
        config: Its numbers, with the head counted.
        prefix: What the names of the head's tensors begin with: `blk.N.`.
        shapes: Shape of each tensor to be trained, by name, in the order in which they are asked for.
        frozen: The tensors of the file that the program reads as they are.
        source: The trunk's layer that is made like the head's block, from which a new head starts.
        has_head: Whether the file has a head, from which training then starts.
    """

    kind = "mtp"

    def __init__(self, file: GGUFFile) -> None:
        """Ask a model's draft program what it needs; reads no tensor.

        Raises:
            UnsupportedError: The architecture has no draft program.
            ModelFileError: No layer of the trunk is made like the head's block.
        """
        self.file = file
        self.definition: Definition = find(file.metadata.str("general.architecture"))
        found: Any = self.definition.config.from_metadata(file.metadata)
        if self.definition.draft is None:
            trained = tuple(arch for arch, each in DEFINITIONS.items() if each.draft is not None)
            raise UnsupportedError("a head for the architecture", self.definition.arch, trained)
        self.has_head = found.n_mtp > 0
        self.config: Config = replace(found, n_mtp=1)
        self.prefix = f"blk.{self.config.n_layers}."
        for layer in reversed(range(self.config.n_layers)):
            asked = Asked(file, self.prefix, f"blk.{layer}.", {}, {})
            try:
                trace("draft", lambda ops, asked=asked: self.run(ops, asked))  # type: ignore[misc]  # bound early
            except ModelFileError:
                continue
            self.source, self._asked = layer, asked
            self.shapes: Mapping[str, tuple[int, ...]] = MappingProxyType(asked.shapes)
            self.frozen: Mapping[str, WeightRef] = MappingProxyType(asked.frozen)
            return
        raise ModelFileError(file.path, "no layer of the trunk is made like the block of a multi-token-prediction head")

    def run(self, ops: Ops, weights: object | None = None) -> None:
        """Run the draft program over verbs whose tensors are looked up by name."""
        assert self.definition.draft is not None
        # It looks like `Weights`, which is a class because everybody else asks a file.
        self.definition.draft(ops, cast("Weights", weights or self._asked), self.config)

    @property
    def projection(self) -> str:
        """Name of the matrix that makes logits of hidden states."""
        own = self.prefix + BY_TOKEN[1]
        names = [own, "output.weight", "token_embd.weight"]
        return next(name for name in names if name in self.file.tensors)

    @property
    def embedding(self) -> str:
        """Name of the table that the head looks tokens up in."""
        own = self.prefix + BY_TOKEN[0]
        return own if own in self.file.tensors else "token_embd.weight"

    @property
    def keys(self) -> dict[str, Any]:
        """The keys of a model with its head, without those of a tokenizer and of types."""
        arch, n_layers = self.definition.arch, self.config.n_layers
        found: dict[str, Any] = {}
        for key, value in untyped(self.file.metadata).items():
            held = value.value
            if is_by_layer(arch, key, held, n_layers):
                # The head's block is made like that of the layer that it starts from.
                held = [*held, held[self.source]]
            found[key] = Typed(value.kind, held)
        found[f"{arch}.block_count"] = Typed(ValueType.UINT32, n_layers + 1)
        found[count_key(arch, "mtp")] = Typed(ValueType.UINT32, 1)
        return found


def untyped(metadata: Metadata) -> dict[str, Typed]:
    """Return a file's keys without those of a tokenizer, of a cut into parts, of types and of heads."""
    left_out = ("tokenizer.", "general.file_type", "general.quantization_version")
    of_heads = keys_of(metadata.str("general.architecture"))
    found = keys_as_they_are(metadata)
    return {key: value for key, value in found.items() if not key.startswith(left_out) and key not in of_heads}


class Asked:
    """Tensors asked for by name: those of the file, and those that the head is to have.

    Of a head's tensor that the file does not have, the trunk has one that is made like it where a `source` is given.

    State: `shapes` and `frozen`, what was asked for so far, shared by all scopes.
    """

    def __init__(
        self,
        file: GGUFFile,
        prefix: str,
        source: str | None,
        shapes: dict[str, tuple[int, ...]],
        frozen: dict[str, WeightRef],
        scope: str = "",
    ) -> None:
        self._file, self._head, self._source, self.prefix = file, prefix, source, scope
        self.shapes, self.frozen = shapes, frozen

    def __call__(self, name: str, *shape: int) -> WeightRef:
        """Return a tensor of the file, or one that the head is to have."""
        full = self.prefix + name
        if not full.startswith(self._head) or name in BY_TOKEN:
            ref = Weights(self._file)(full, *shape)
            self.frozen[full] = ref
            return ref
        if full in self._file.tensors:
            Weights(self._file)(full, *shape)
        elif self._source is not None and not name.startswith("nextn."):
            Weights(self._file)(self._source + full.removeprefix(self._head), *shape)
        self.shapes[full] = shape
        return WeightRef(full, GGMLType.F32, shape, 4 * math.prod(shape))

    def has(self, name: str) -> bool:
        """Return whether there is such a tensor, or is to be."""
        full = self.prefix + name
        if full in self._file.tensors:
            return True
        if not full.startswith(self._head):
            return False
        return name == _OWN_NORM or f"{self._source}{full.removeprefix(self._head)}" in self._file.tensors

    def scoped(self, prefix: str) -> Asked:
        """Return a view in which names begin after `prefix`."""
        inner = self.prefix + prefix
        return Asked(self._file, self._head, self._source, self.shapes, self.frozen, inner)
