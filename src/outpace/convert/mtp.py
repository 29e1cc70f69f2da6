"""The heads of a model, MTP layers and others: kept with the trunk, left out, or in a file of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from outpace.convert.content import Content
from outpace.errors import ConfigError, nearest
from outpace.gguf.heads import is_by_layer, keys_of, kind_of
from outpace.gguf.types import ValueType
from outpace.gguf.writer import Typed

CHOICES: Final = ("keep", "only", "none")


def select(content: Content, choice: str) -> Content:
    """Return what a file is to hold.

    Args:
        content: A model.
        choice: `keep` for all of it, `none` for the trunk alone. `only` for the MTP layers alone: all keys of the
            architecture, which say what trunk they fit, and no tokenizer but the number of its tokens.

    Raises:
        ConfigError: Not one of these, or `only` of a model without such layers.
    """
    if choice not in CHOICES:
        raise ConfigError("--mtp", choice, f"one of {', '.join(CHOICES)}{nearest(choice, CHOICES)}")
    if choice == "only":
        if not content.n_mtp:
            raise ConfigError("--mtp", choice, "keep or none, as this model has no MTP layers")
        return alone(content, ("mtp",))
    return without(content, ("mtp",)) if choice == "none" else content


def alone(content: Content, kinds: Iterable[str]) -> Content:
    """Return the heads of some kinds: all keys of the architecture, and no tokenizer but the number of its tokens."""
    kept = with_heads(content, kinds)
    keys = {key: value for key, value in kept.keys.items() if not key.startswith("tokenizer.")}
    tensors = {name: rows for name, rows in kept.tensors.items() if kind_of(name, kept.n_layers) is not None}
    return replace(kept, keys=keys | _size(content), tensors=tensors)


def without(content: Content, kinds: Iterable[str]) -> Content:
    """Return a model without the heads of some kinds."""
    taken = set(kinds)
    return with_heads(content, [kind for kind in content.kinds if kind not in taken])


def with_heads(content: Content, kinds: Iterable[str]) -> Content:
    """Return a model with the heads of these kinds and no others."""
    kept = set(kinds)
    gone = [kind for kind in content.kinds if kind not in kept]
    own = keys_of(content.arch, gone)
    left = {key: value for key, value in content.keys.items() if key not in own}
    keys = _trunk_keys(content, left) if "mtp" in gone else left
    tensors = {name: rows for name, rows in content.tensors.items() if kind_of(name, content.n_layers) not in gone}
    n_mtp, n_medusa = (n * (kind in kept) for kind, n in (("mtp", content.n_mtp), ("medusa", content.n_medusa)))
    return replace(content, keys=keys, tensors=tensors, n_mtp=n_mtp, n_medusa=n_medusa)


def _size(content: Content) -> dict[str, Any]:
    """Return the key that says how many tokens a model knows, where only its list of tokens does."""
    key, tokens = f"{content.arch}.vocab_size", content.keys.get("tokenizer.ggml.tokens")
    if key in content.keys or tokens is None:
        return {}
    return {key: Typed(ValueType.UINT32, len(tokens.value if isinstance(tokens, Typed) else tokens))}


def _trunk_keys(content: Content, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return keys with the MTP layers taken off: the count of all, and lists with an item for each layer."""
    n_all = content.n_layers + content.n_mtp
    found: dict[str, Any] = {}
    for key, value in keys.items():
        held = value.value if isinstance(value, Typed) else value
        if key == f"{content.arch}.block_count":
            held = content.n_layers
        elif is_by_layer(content.arch, key, held, n_all):
            held = held[: content.n_layers]
        found[key] = Typed(value.kind, held) if isinstance(value, Typed) else held
    return found
