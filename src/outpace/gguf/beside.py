"""A model and a smaller one that drafts for it, from two files, seen as one: the smaller one's names get a prefix."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from outpace.errors import ModelFileError
from outpace.gguf.cursor import shown
from outpace.gguf.file import GGUFFile, open_gguf
from outpace.gguf.join import has_trunk, join
from outpace.gguf.metadata import Metadata
from outpace.gguf.tokens import Tokens, check

# What the names of the smaller model's keys and tensors begin with.
PREFIX = "draft_model."


def open_with_draft(path: str | Path, draft: str | Path | None) -> GGUFFile:
    """Open a model file, and a file that drafts for it where there is one: a head of its own, or a smaller model."""
    if draft is None:
        return open_gguf(path)
    with open_gguf(path) as model, open_gguf(draft) as found:
        return beside(model, found) if is_model(found) else join(model, found)


def is_model(file: GGUFFile) -> bool:
    """Return whether a file holds a model, and not a head alone."""
    arch = file.metadata.str("general.architecture")
    n_layers = file.metadata.int(f"{arch}.block_count") - file.metadata.int(f"{arch}.nextn_predict_layers", 0)
    return has_trunk(file, n_layers)


def beside(model: GGUFFile, small: GGUFFile) -> GGUFFile:
    """Return both files as one; no tensor is read.

    Args:
        model: The model.
        small: One that drafts for it.

    Returns:
        The view; the two files may be closed. `parts` takes it apart.

    Raises:
        ModelFileError: They do not share a tokenizer (names the first token that differs), or the model has names that
            a draft model's get.
    """
    for what, names in (("tensor", model.tensors), ("metadata", model.metadata)):
        taken = next((name for name in names if name.startswith(PREFIX)), None)
        if taken is not None:
            problem = f"no name beside a draft model may begin with {PREFIX}"
            raise ModelFileError(model.path, problem, f"{what} '{shown(taken)}'")
    compare(model, small)
    tensors = {PREFIX + name: replace(info, name=PREFIX + name) for name, info in small.tensors.items()}
    entries = {key: model.metadata.entry(key) for key in model.metadata}
    entries |= {PREFIX + key: small.metadata.entry(key) for key in small.metadata}
    renamed = replace(small, tensors=MappingProxyType(tensors))
    return model.joined(renamed, Metadata(model.path, entries), PREFIX)


def compare(model: GGUFFile, small: GGUFFile) -> str | None:
    """Compare the tokens of two models; return what could not be compared, if anything.

    A vocabulary may be filled up with unused tokens to another size than the other's.

    Raises:
        ModelFileError: They differ; names the first that does.
    """
    ours, theirs = (Tokens.of(each.path, each.metadata) for each in (model, small))
    if ours.tokens is not None and theirs.tokens is not None:
        # Where one has a number alone, unused tokens count in it too.
        ours, theirs = ours.without_padding(), theirs.without_padding()
    # Merges, scores and cuts decide how text becomes tokens, and that is done by the model's own tokenizer alone.
    return check(ours, replace(theirs, merges=None, scores=None, pre=None), "draft model")


def parts(file: GGUFFile) -> tuple[GGUFFile, GGUFFile | None]:
    """Return a model, and the smaller one beside it where there is one, each as its own file would be."""
    if not any(key.startswith(PREFIX) for key in file.metadata):
        return file, None
    own = {name: info for name, info in file.tensors.items() if not name.startswith(PREFIX)}
    keys = {key: file.metadata.entry(key) for key in file.metadata if not key.startswith(PREFIX)}
    model = replace(file, tensors=MappingProxyType(own), metadata=Metadata(file.path, keys))
    path = file.path_of(PREFIX)
    keys = {key.removeprefix(PREFIX): file.metadata.entry(key) for key in file.metadata if key.startswith(PREFIX)}
    tensors = {
        name.removeprefix(PREFIX): replace(info, name=name.removeprefix(PREFIX))
        for name, info in file.tensors.items()
        if name.startswith(PREFIX)
    }
    small = replace(
        file,
        path=path,
        tensors=MappingProxyType(tensors),
        metadata=Metadata(path, keys),
        _elsewhere=MappingProxyType({}),
    )
    return model, small
