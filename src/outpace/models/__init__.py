"""Architectures by name, and the one way from an open file to its plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from outpace.errors import ConfigError, ModelFileError, UnsupportedError
from outpace.gguf.file import GGUFFile
from outpace.gguf.heads import kinds_of
from outpace.gguf.join import has_trunk
from outpace.gguf.weights import Weights
from outpace.graph.passes import optimise
from outpace.graph.plan import Plan
from outpace.graph.trace import trace
from outpace.models import llama, medusa, numbers, qwen3, qwen3next, qwen35, qwen35moe
from outpace.models.definition import Config, Definition

__all__ = ["DEFINITIONS", "Config", "Definition", "Model", "find", "load_plan"]

_ALL = (llama.DEFINITION, qwen3.DEFINITION, qwen35.DEFINITION, qwen35moe.DEFINITION, qwen3next.DEFINITION)
DEFINITIONS = MappingProxyType({each.arch: each for each in _ALL})


@dataclass(frozen=True, slots=True)
class Model:
    """What a file's header says about the model in it; no tensor has been read.

    Attributes:
        definition: Its architecture.
        config: Its numbers.
        traced: The trunk as it is written.
        plan: The trunk as backends compile it, after every pass.
        unused: Tensors of the file that no program reads.
        traced_draft: The draft program as it is written, where the file has a multi-token-prediction head.
        draft: The draft program as backends compile it.
        medusa: The draft program of its Medusa heads as backends compile it, where the file has such.
        listed: By kind of head the tokens that it learned to guess, those that the model says most often first, where
            the file has such a head and tells.
    """

    definition: Definition
    config: Config
    traced: Plan
    plan: Plan
    unused: tuple[str, ...]
    traced_draft: Plan | None = None
    draft: Plan | None = None
    medusa: Plan | None = None
    listed: Mapping[str, Sequence[int]] = field(default_factory=dict)


def find(arch: str) -> Definition:
    """Return the definition of an architecture.

    Raises:
        UnsupportedError: There is none; lists those there are.
    """
    if arch not in DEFINITIONS:
        raise UnsupportedError("architecture", arch, tuple(DEFINITIONS))
    return DEFINITIONS[arch]


def load_plan(file: GGUFFile) -> Model:
    """Read the numbers of the model in `file` and trace its programs, touching no tensor bytes.

    Raises:
        ModelFileError: A key or tensor is missing or not what the architecture needs, or the file is a head alone.
        UnsupportedError: No such architecture, or a variant of it that is not implemented.
    """
    definition = find(file.metadata.str("general.architecture"))
    try:
        config = definition.config.from_metadata(file.metadata)
    except ConfigError as error:
        raise ModelFileError(file.path, str(error), "metadata") from error
    if (config.n_mtp or config.n_medusa) and not has_trunk(file, config.n_layers):
        kind = "a multi-token-prediction head" if config.n_mtp else "Medusa heads"
        problem = f"holds {kind} alone: give the model that it is for, and this file beside it"
        raise ModelFileError(file.path, f"{problem} with --draft-model (-md)")
    weights = Weights(file)
    traced = trace("trunk", lambda ops: definition.trunk(ops, weights, config))
    draft = None
    if definition.draft is not None and config.n_mtp:
        program = definition.draft
        draft = trace("draft", lambda ops: program(ops, weights, config))
    medusa_heads = None
    if config.n_medusa:
        medusa_heads = optimise(trace("medusa", lambda ops: medusa.draft(ops, weights, config)))
    unused = weights.unused()
    ignored = [name for name in unused if name.endswith(".bias")]
    if ignored:
        # Leaving a bias out would run, and write other text.
        raise UnsupportedError(f"{definition.arch} with the tensor", ignored[0], ("files without it",))
    ready = optimise(draft) if draft else None
    found = {kind: numbers.listed(file, kind, config.n_vocab) for kind in kinds_of(file.metadata)}
    listed = MappingProxyType({kind: tokens for kind, tokens in found.items() if tokens is not None})
    return Model(definition, config, traced, optimise(traced), unused, draft, ready, medusa_heads, listed)
