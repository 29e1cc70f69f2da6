"""What an architecture is: a name, numbers read from metadata, and its programs as plain functions over verbs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from outpace.gguf.metadata import Metadata
from outpace.gguf.weights import Weights
from outpace.graph.ops import Ops


class Config(Protocol):
    """The numbers every architecture has; its own definition may read more."""

    @property
    def n_layers(self) -> int:
        """Transformer layers of the trunk."""

    @property
    def n_mtp(self) -> int:
        """Layers after the trunk's that only predict further tokens: where there are any, the draft program runs."""

    @property
    def n_medusa(self) -> int:
        """Medusa heads, which predict further tokens from the trunk's hidden state (`medusa.draft`)."""

    @property
    def d_model(self) -> int:
        """Width D of the residual stream."""

    @property
    def n_vocab(self) -> int:
        """Rows V of the embedding table, and of the logits."""

    @property
    def norm_eps(self) -> float:
        """Added to the mean square inside every norm's root."""

    @property
    def n_ctx_train(self) -> int:
        """Longest context the model was trained for, in positions."""

    @classmethod
    def from_metadata(cls, metadata: Metadata) -> Config:
        """Read and check the numbers.

        Raises:
            ModelFileError: A key is missing or of another type.
            ConfigError: A number is out of range.
            UnsupportedError: The file uses a variant that is not implemented.
        """


# A program asks for its weights by name and shape, and names its results with `ops.output`.
Program: TypeAlias = Callable[[Ops, Weights, Any], None]


@dataclass(frozen=True, slots=True)
class Definition:
    """One architecture.

    Attributes:
        arch: Its `general.architecture`.
        config: Class of its numbers; what `from_metadata` returns is passed to the programs.
        trunk: The model itself: tokens in, `logits` out, and `hidden` where the file has heads that draft.
        draft: The program of its multi-token-prediction head, where it can have one: tokens and hidden states in,
            `logits` and `hidden` out.
    """

    arch: str
    config: type[Config]
    trunk: Program
    draft: Program | None = None
