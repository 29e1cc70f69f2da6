"""Taking heads off a file: the trunk as it is, and the heads in a file of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from outpace.convert.mtp import alone, without
from outpace.convert.requantise import as_it_is, types_of
from outpace.convert.write import Progress, Written, check_target, unseen, write_typed
from outpace.errors import ConfigError, ModelFileError
from outpace.gguf.file import open_gguf
from outpace.gguf.heads import KINDS, NAMES, check_kind, kind_of
from outpace.gguf.join import has_trunk

_THREADS: Final = 1  # copying rounds nothing


@dataclass(frozen=True, slots=True)
class Parts:
    """What a file was taken apart into.

    Attributes:
        trunk: The file without the heads.
        head: The heads' file, where one was asked for.
    """

    trunk: Written
    head: Written | None


def detach(
    source: Path,
    path: Path,
    head: Path | None = None,
    *,
    kinds: Sequence[str] = KINDS,
    is_forced: bool = False,
    progress: Progress = unseen,
) -> Parts:
    """Write a model without its heads, and those alone if a path for them is given; tensors keep every byte.

    Args:
        source: A GGUF file with a trunk and heads; of a split one, any part.
        path: Where the trunk goes.
        head: Where the heads go, with all keys of the architecture and no tokenizer.
        kinds: Which heads are taken off.
        is_forced: Replace files that are there.
        progress: Called with what is done, bytes written and bytes in all.

    Raises:
        ConfigError: There is no such head or nothing else, a target is there, HEAD is OUT or FILE, or a kind is none.
        ModelFileError: The file is damaged.
        ResourceError: The disk is too small.
    """
    check_target(path, is_forced)
    if head is not None:
        check_target(head, is_forced, "--head")
        # Were it to go over FILE, and the disk then to fail, the trunk would be nowhere.
        for name, other in (("OUT", path), ("FILE", source)):
            if head.resolve() == other.resolve():
                raise ConfigError("--head", str(head), f"another file than {name}")
    with open_gguf(source) as file:
        content, types = as_it_is(file), types_of(file)
        taken = [kind for kind in map(check_kind, kinds) if kind in content.kinds]
        if not taken:
            raise ConfigError(
                "FILE", str(source), f"a model with {' or '.join(NAMES[kind] for kind in kinds)}; this one has none"
            )
        for kind in taken:
            if not any(kind_of(name, content.n_layers) == kind for name in file.tensors):
                raise ModelFileError(source, f"says that it has {NAMES[kind]}, and no tensor is theirs")
        if not has_trunk(file, content.n_layers):
            raise ConfigError("FILE", str(source), "a whole model; this is a head alone")
        # The head goes first: where OUT replaces FILE, nothing else has it any more.
        found = None if head is None else write_typed(alone(content, taken), types, source, head, _THREADS, progress)
        return Parts(write_typed(without(content, taken), types, source, path, _THREADS, progress), found)
