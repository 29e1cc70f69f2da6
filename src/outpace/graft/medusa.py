"""Which tensors Medusa heads of a model have, and with which keys they are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

from outpace.errors import ConfigError
from outpace.gguf.file import GGUFFile
from outpace.gguf.heads import MEDUSA_PREFIX, count_key, is_by_layer
from outpace.gguf.types import ValueType
from outpace.gguf.weights import WeightRef, Weights
from outpace.gguf.writer import Typed
from outpace.graft.blueprint import Asked, untyped
from outpace.graph.ops import Ops
from outpace.graph.trace import trace
from outpace.models import find, medusa
from outpace.models.definition import Config, Definition


class MedusaBlueprint:
    """A model's Medusa heads; see `design.Design`."""

    kind = "medusa"
    prefix = MEDUSA_PREFIX
    embedding = None  # no token is looked at

    def __init__(self, file: GGUFFile, n_heads: int) -> None:
        """Ask the heads' program what it needs; reads no tensor.

        Args:
            file: The model.
            n_heads: Heads of a model that has none; of one that has some, how many are trained.

        Raises:
            ConfigError: The model has fewer heads.
        """
        self.file = file
        self.definition: Definition = find(file.metadata.str("general.architecture"))
        found: Any = self.definition.config.from_metadata(file.metadata)
        self.has_head = found.n_medusa > 0
        if self.has_head and n_heads > found.n_medusa:
            raise ConfigError("--depths", n_heads, f"at most {found.n_medusa}, the Medusa heads that the file has")
        self.config: Config = replace(found, n_medusa=found.n_medusa or n_heads)
        self._asked = Asked(file, self.prefix, None, {}, {})
        trace("medusa", self.run)
        self.shapes: Mapping[str, tuple[int, ...]] = MappingProxyType(self._asked.shapes)
        self.frozen: Mapping[str, WeightRef] = MappingProxyType(self._asked.frozen)

    def run(self, ops: Ops) -> None:
        """Run the heads over verbs whose tensors are looked up by name."""
        medusa.draft(ops, cast("Weights", self._asked), self.config)

    @property
    def projection(self) -> str:
        """Name of the matrix that makes logits of hidden states: the model's own."""
        (name,) = self.frozen
        return name

    @property
    def keys(self) -> dict[str, Any]:
        """The keys of a model with its Medusa heads and no others."""
        arch, n_layers = self.definition.arch, self.config.n_layers
        found: dict[str, Any] = {}
        n_all = n_layers + self.config.n_mtp
        for key, value in untyped(self.file.metadata).items():
            held = value.value
            if is_by_layer(arch, key, held, n_all):
                held = held[:n_layers]
            found[key] = Typed(value.kind, held)
        found[f"{arch}.block_count"] = Typed(ValueType.UINT32, n_layers)
        found[count_key(arch, "medusa")] = Typed(ValueType.UINT32, self.config.n_medusa)
        return found
