"""The layers that predict further tokens: kept with the trunk, left out, or in a file of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from outpace.convert.content import Content, layer_of
from outpace.errors import ConfigError, nearest
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
        keys = {key: value for key, value in content.keys.items() if not key.startswith("tokenizer.")}
        return replace(content, keys=keys | _size(content), tensors=_part(content, is_mtp=True))
    if choice == "none" and content.n_mtp:
        return replace(content, keys=_trunk_keys(content), tensors=_part(content, is_mtp=False), n_mtp=0)
    return content


def _part(content: Content, is_mtp: bool) -> dict[str, Any]:
    return {
        name: rows for name, rows in content.tensors.items() if ((layer_of(name) or 0) >= content.n_layers) is is_mtp
    }


def _size(content: Content) -> dict[str, Any]:
    """Return the key that says how many tokens a model knows, where only its list of tokens does."""
    key, tokens = f"{content.arch}.vocab_size", content.keys.get("tokenizer.ggml.tokens")
    if key in content.keys or tokens is None:
        return {}
    return {key: Typed(ValueType.UINT32, len(tokens.value if isinstance(tokens, Typed) else tokens))}


def _trunk_keys(content: Content) -> dict[str, Any]:
    """Return the keys with the MTP layers taken off: the counts, and lists with an item for each layer."""
    n_all, prefix = content.n_layers + content.n_mtp, f"{content.arch}."
    found: dict[str, Any] = {}
    for key, value in content.keys.items():
        held = value.value if isinstance(value, Typed) else value
        if key == f"{prefix}nextn_predict_layers":
            continue
        if key == f"{prefix}block_count":
            held = content.n_layers
        elif key.startswith(prefix) and not isinstance(held, str | int | float) and len(held) == n_all:
            held = held[: content.n_layers]
        found[key] = Typed(value.kind, held) if isinstance(value, Typed) else held
    return found
