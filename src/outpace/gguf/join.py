"""A trunk and the heads that draft for it from two files, seen as one; what does not fit is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from outpace.errors import ConfigError, ModelFileError, UnsupportedError
from outpace.gguf.file import GGUFFile, open_gguf
from outpace.gguf.heads import BY_TOKEN, MEDUSA_PREFIX, count_key, keys_of, kind_of, kinds_of, layer_of, named
from outpace.gguf.metadata import Metadata

_HOW = "`outpace convert MODEL HEAD --mtp only`"


def open_with_head(path: str | Path, head: str | Path | None) -> GGUFFile:
    """Open a model file, and a file with its head where there is one; see `open_gguf` and `join`."""
    if head is None:
        return open_gguf(path)
    with open_gguf(path) as trunk, open_gguf(head) as found:
        return join(trunk, found)


def join(trunk: GGUFFile, head: GGUFFile) -> GGUFFile:
    """Return both files as one, which says what a file with both in it would say; no tensor is read.

    Args:
        trunk: A model without heads of the kind that the other has.
        head: Its heads alone, with the keys of the architecture: MTP layers as `outpace convert --mtp only` writes
            them, or Medusa heads, or both.

    Returns:
        The view; the two files may be closed.

    Raises:
        ConfigError: The trunk has such heads of its own.
        ModelFileError: The head is for another trunk, or the file is damaged.
        UnsupportedError: The head is a whole model, or has several layers.
    """
    arch, n_layers, kinds = _check_head(head)
    own = trunk.metadata.str("general.architecture")
    both = [kind for kind in kinds_of(trunk.metadata) if kind in kinds]
    if both:
        expected = f"none, as {trunk.path} has {named(both)} of its own (`outpace graft detach` takes them off)"
        raise ConfigError("draft_model", str(head.path), expected)
    if arch != own:
        _fail(head, "general.architecture", f"the head is for '{arch}', and {trunk.path} is '{own}'")
    found = trunk.metadata.int(f"{arch}.block_count") - trunk.metadata.int(count_key(arch, "mtp"), 0)
    if found != n_layers:
        problem = f"the head is for a trunk of {n_layers} layers, and {trunk.path} has {found}"
        _fail(head, f"{arch}.block_count", problem)
    _check_same(trunk, head, f"{arch}.embedding_length", "width")
    if f"{arch}.vocab_size" in trunk.metadata and f"{arch}.vocab_size" in head.metadata:
        _check_same(trunk, head, f"{arch}.vocab_size", "vocabulary")
    _check_tensors(trunk, head, arch, n_layers, kinds)
    prefixes = [_prefix(kind, n_layers) for kind in kinds]
    return trunk.joined(head, _metadata(trunk, head, arch, n_layers, kinds), *prefixes)


def has_trunk(file: GGUFFile, n_layers: int) -> bool:
    """Return whether a file has a tensor of one of the first `n_layers` layers: whether it is more than a head."""
    return any((layer := layer_of(name)) is not None and layer < n_layers for name in file.tensors)


def _prefix(kind: str, n_layers: int) -> str:
    return MEDUSA_PREFIX if kind == "medusa" else f"blk.{n_layers}."


def _check_head(head: GGUFFile) -> tuple[str, int, Sequence[str]]:
    """Return a head's architecture, the layers of the trunk it is for, and its kinds; refuse a model of its own."""
    metadata = head.metadata
    arch = metadata.str("general.architecture")
    n_all, n_mtp = metadata.int(f"{arch}.block_count"), metadata.int(f"{arch}.nextn_predict_layers", 0)
    if not 0 <= n_mtp < n_all:
        _fail(head, f"{arch}.nextn_predict_layers", f"is {n_mtp} with a block_count of {n_all}")
    n_layers = n_all - n_mtp
    if has_trunk(head, n_layers):
        raise UnsupportedError(
            "a whole model in place of a head", str(head.path), (f"a head alone, as {_HOW} writes it",)
        )
    kinds = kinds_of(metadata)
    if n_mtp != 1 and (n_mtp or not kinds):
        raise UnsupportedError(
            f"{arch} with multi-token-prediction layers, of which {head.path} has", str(n_mtp), ("1",)
        )
    return arch, n_layers, kinds


def _check_same(trunk: GGUFFile, head: GGUFFile, key: str, what: str) -> None:
    wanted, found = trunk.metadata.int(key), head.metadata.int(key)
    if wanted != found:
        _fail(head, key, f"the head is for a {what} of {found}, and {trunk.path} has {wanted}")


def _check_tensors(trunk: GGUFFile, head: GGUFFile, arch: str, n_layers: int, kinds: Sequence[str]) -> None:
    tokens = "tokenizer.ggml.tokens"
    listed = trunk.metadata.entry(tokens).count if tokens in trunk.metadata else None
    n_vocab = listed or trunk.metadata.int(f"{arch}.vocab_size")
    for name, info in head.tensors.items():
        where = f"tensor '{name}'"
        if kind_of(name, n_layers) not in kinds or layer_of(name) not in (n_layers, None):
            own = " and ".join(_prefix(kind, n_layers).removesuffix(".") for kind in kinds)
            problem = f"a head of this trunk has tensors of {own} only ({_HOW} leaves others out)"
            raise ModelFileError(head.path, problem, where)
        if name in trunk.tensors:
            raise ModelFileError(head.path, f"is in {trunk.path} too", where)
        if name.endswith(BY_TOKEN) and info.shape and info.shape[0] != n_vocab:
            problem = f"has rows for {info.shape[0]} tokens, and the vocabulary of {trunk.path} is {n_vocab}"
            raise ModelFileError(head.path, problem, where)


def _metadata(trunk: GGUFFile, head: GGUFFile, arch: str, n_layers: int, kinds: Sequence[str]) -> Metadata:
    """Return the trunk's keys, with those of heads and, with MTP layers, the lists by layer of the head's file."""
    ours, theirs = trunk.metadata, head.metadata
    n_all = theirs.int(f"{arch}.block_count")
    entries = {key: ours.entry(key) for key in ours}
    elsewhere: dict[str, object] = {}
    own = keys_of(arch, kinds) | ({f"{arch}.block_count"} if "mtp" in kinds else set())
    for key in theirs:
        entry = theirs.entry(key)
        if key in own:
            entries[key], elsewhere[key] = entry, head.path
        elif key.startswith(f"{arch}.") and key in ours and (ours.entry(key).count, entry.count) == (n_layers, n_all):
            if not np.array_equal(ours[key], theirs[key][:n_layers]):
                _fail(head, key, f"the head is for a trunk with other values in its layers than {trunk.path} has")
            entries[key], elsewhere[key] = entry, head.path
    return Metadata(trunk.path, entries, elsewhere)


def _fail(head: GGUFFile, key: str, problem: str) -> NoReturn:
    raise ModelFileError(head.path, problem, f"metadata '{key}'")
