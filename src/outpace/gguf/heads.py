"""The kinds of heads that a file may have beside its trunk, and which keys and tensors are theirs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sized
from types import MappingProxyType
from typing import Final

from outpace.errors import ConfigError, nearest
from outpace.gguf.metadata import Metadata

# Multi-token-prediction layers after the trunk's, and Medusa heads.
KINDS: Final = ("mtp", "medusa")
# As a person reads them.
NAMES: Final[Mapping[str, str]] = MappingProxyType({"mtp": "MTP layers", "medusa": "Medusa heads"})
# An MTP layer may have an embedding and a vocabulary projection of its own: a row for each token of the trunk's.
BY_TOKEN: Final = ("nextn.embed_tokens.weight", "nextn.shared_head_head.weight")
# A file that says it has more layers than this is taken to be damaged, before anyone looks at each of them.
MOST_LAYERS: Final = 4096
# What names of Medusa heads' tensors begin with: medusa.{i}.weight [D, D] and medusa.{i}.bias [D], i from 0 on.
MEDUSA_PREFIX: Final = "medusa."


def count_key(arch: str, kind: str) -> str:
    """Return the key that says how many layers or heads of a kind a file has."""
    return f"{arch}.nextn_predict_layers" if kind == "mtp" else f"{arch}.medusa.head_count"


def tokens_key(arch: str, kind: str) -> str:
    """Return the key that lists the tokens a head of a kind learned to guess, those that were most often right first.

    Ours, and need not be there: with it a head that drafts has rows for fewer tokens, and better chosen ones.
    """
    return f"{arch}.nextn_draft_tokens" if kind == "mtp" else f"{arch}.medusa.draft_tokens"


def keys_of(arch: str, kinds: Iterable[str] = KINDS) -> set[str]:
    """Return the keys that a file has only for heads of these kinds."""
    return {key(arch, kind) for kind in kinds for key in (count_key, tokens_key)}


def is_by_layer(arch: str, key: str, value: object, n_layers: int) -> bool:
    """Return whether what a file has under a key is a list of the trunk's, with an item for each of so many layers."""
    if not key.startswith(f"{arch}.") or key in keys_of(arch):
        return False
    return isinstance(value, Sized) and not isinstance(value, str) and len(value) == n_layers


def kinds_of(metadata: Metadata) -> tuple[str, ...]:
    """Return the kinds of heads that a file says it has."""
    arch = metadata.str("general.architecture")
    return tuple(kind for kind in KINDS if metadata.int(count_key(arch, kind), 0))


def kind_of(name: str, n_layers: int) -> str | None:
    """Return the kind of the head that a tensor belongs to, None for one of the trunk, which has so many layers."""
    if name.startswith(MEDUSA_PREFIX):
        return "medusa"
    layer = layer_of(name)
    return "mtp" if layer is not None and layer >= n_layers else None


def layer_of(name: str) -> int | None:
    """Return the layer that a tensor's name says it belongs to, None where it says none."""
    match = re.match(r"blk\.(\d+)\.", name, re.ASCII)
    return int(match[1]) if match else None


def check_kind(kind: str, option: str = "--kind") -> str:
    """Return a kind if it is one.

    Raises:
        ConfigError: It is none.
    """
    if kind not in KINDS:
        raise ConfigError(option, kind, f"one of {', '.join(KINDS)}{nearest(kind, KINDS)}")
    return kind


def named(kinds: Iterable[str]) -> str:
    """Return kinds as a person reads them."""
    return " and ".join(NAMES[kind] for kind in kinds)
