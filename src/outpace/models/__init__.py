"""Architectures by name, and the one way from an open file to its plan."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from outpace.errors import ConfigError, ModelFileError, UnsupportedError
from outpace.gguf.file import GGUFFile
from outpace.gguf.weights import Weights
from outpace.graph.passes import optimise
from outpace.graph.plan import Plan
from outpace.graph.trace import trace
from outpace.models import llama, qwen3
from outpace.models.definition import Config, Definition

__all__ = ["DEFINITIONS", "Config", "Definition", "Model", "find", "load_plan"]

DEFINITIONS = MappingProxyType({each.arch: each for each in (llama.DEFINITION, qwen3.DEFINITION)})


@dataclass(frozen=True, slots=True)
class Model:
    """What a file's header says about the model in it; no tensor has been read.

    Attributes:
        definition: Its architecture.
        config: Its numbers.
        traced: The trunk as it is written.
        plan: The trunk as backends compile it, after every pass.
        unused: Tensors of the file that the trunk does not read.
    """

    definition: Definition
    config: Config
    traced: Plan
    plan: Plan
    unused: tuple[str, ...]


def find(arch: str) -> Definition:
    """Return the definition of an architecture.

    Raises:
        UnsupportedError: There is none; lists those there are.
    """
    if arch not in DEFINITIONS:
        raise UnsupportedError("architecture", arch, tuple(DEFINITIONS))
    return DEFINITIONS[arch]


def load_plan(file: GGUFFile) -> Model:
    """Read the numbers of the model in `file` and trace its trunk, touching no tensor bytes.

    Raises:
        ModelFileError: A key or tensor is missing or not what the architecture needs.
        UnsupportedError: No such architecture, or a variant of it that is not implemented.
    """
    definition = find(file.metadata.str("general.architecture"))
    try:
        config = definition.config.from_metadata(file.metadata)
    except ConfigError as error:
        raise ModelFileError(file.path, str(error), "metadata") from error
    weights = Weights(file)
    traced = trace("trunk", lambda ops: definition.trunk(ops, weights, config))
    unused = weights.unused()
    ignored = [name for name in unused if name.endswith(".bias")]
    if ignored:
        # Leaving a bias out would run, and write other text.
        raise UnsupportedError(f"{definition.arch} with the tensor", ignored[0], ("files without it",))
    return Model(definition, config, traced, optimise(traced), unused)
