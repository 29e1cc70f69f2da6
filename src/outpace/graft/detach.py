"""Taking the head off a file: the trunk as it is, and the head in a file of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from outpace.convert.mtp import select
from outpace.convert.requantise import as_it_is, types_of
from outpace.convert.write import Progress, Written, check_target, unseen, write_typed
from outpace.errors import ConfigError
from outpace.gguf.file import open_gguf
from outpace.gguf.join import has_trunk

_THREADS: Final = 1  # copying rounds nothing


@dataclass(frozen=True, slots=True)
class Parts:
    """What a file was taken apart into.

    Attributes:
        trunk: The file without the head.
        head: The head's file, where one was asked for.
    """

    trunk: Written
    head: Written | None


def detach(
    source: Path, path: Path, head: Path | None = None, *, is_forced: bool = False, progress: Progress = unseen
) -> Parts:
    """Write a model without its MTP layers, and those alone if a path for them is given; tensors keep every byte.

    Args:
        source: A GGUF file with a trunk and MTP layers; of a split one, any part.
        path: Where the trunk goes.
        head: Where the head goes, with all keys of the architecture and no tokenizer.
        is_forced: Replace files that are there.
        progress: Called with what is done, bytes written and bytes in all.

    Raises:
        ConfigError: The file has no head or nothing else, or a target is there, or both are the same.
        ModelFileError: The file is damaged.
        ResourceError: The disk is too small.
    """
    for target in (path, head):
        if target is not None:
            check_target(target, is_forced)
    if head is not None and head.resolve() == path.resolve():
        raise ConfigError("--head", str(head), "another file than OUT")
    with open_gguf(source) as file:
        content, kinds = as_it_is(file), types_of(file)
        if not content.n_mtp:
            raise ConfigError("FILE", str(source), "a model with MTP layers; this one has none")
        if not has_trunk(file, content.n_layers):
            raise ConfigError("FILE", str(source), "a whole model; this is a head alone")
        # The head goes first: where OUT replaces FILE, nothing else has it any more.
        found = None if head is None else write_typed(select(content, "only"), kinds, source, head, _THREADS, progress)
        return Parts(write_typed(select(content, "none"), kinds, source, path, _THREADS, progress), found)
