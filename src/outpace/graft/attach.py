"""Putting a head on a file that has none: checked by tracing the two as one, then written, every tensor as it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from outpace.convert.quantise import check_finite
from outpace.convert.requantise import as_it_is, types_of
from outpace.convert.rows import Blocks
from outpace.convert.write import Progress, Written, check_target, unseen, write_typed
from outpace.errors import ConfigError
from outpace.gguf.file import GGUFFile, open_gguf
from outpace.gguf.heads import keys_of, kinds_of, named
from outpace.gguf.join import join
from outpace.gguf.metadata import Metadata
from outpace.gguf.tokens import Tokens, check
from outpace.graft.donor import open_donor
from outpace.models import load_plan


def attach(
    model: Path,
    donor: Path,
    path: Path,
    *,
    type: str | None = None,  # noqa: A002
    is_forced: bool = False,
    n_threads: int = 1,
    progress: Progress = unseen,
) -> Written:
    """Write a model with the head of another file; what the model has keeps every byte.

    Args:
        model: A GGUF file without heads of the kind that the other has; of a split one, any part.
        donor: Where the head comes from; see `donor.open_donor`.
        path: Where to.
        type: What a folder's tensors are rounded to; those of a file keep their types.
        is_forced: Replace a file that is there.
        n_threads: Threads that round.
        progress: Called with what is done, bytes written and bytes in all.

    Raises:
        ConfigError: The model has a head, an option is out of range, or the file is there.
        ModelFileError: The head is for another model or other tokens, lacks a tensor or holds what is no number, or a
            file is damaged.
        UnsupportedError: The architecture has no draft program, or the folder cannot be read.
        ResourceError: The disk is too small.
    """
    check_target(path, is_forced)
    with open_gguf(model) as trunk, open_donor(donor, type, path, n_threads, progress) as found:
        _check_bare(trunk, found.head)
        unknown = check(Tokens.of(model, trunk.metadata), found.tokens)
        joined = join(trunk, found.head)
        unused = load_plan(joined).unused
        for name, info in found.head.tensors.items():
            if name not in unused:
                check_finite(donor, name, Blocks(found.head, info))
        notes = [unknown] if unknown else []
        notes += _differences(trunk.metadata, found.head.metadata, donor)
        extra = [name for name in unused if name in found.head.tensors]
        notes += [f"nothing reads {', '.join(extra)} of the head; copied all the same"] if extra else []
        content = replace(as_it_is(joined), notes=tuple(notes))
        return write_typed(content, types_of(joined), model, path, n_threads, progress)


def _check_bare(trunk: GGUFFile, head: GGUFFile) -> None:
    both = [kind for kind in kinds_of(trunk.metadata) if kind in kinds_of(head.metadata)]
    if both:
        expected = f"a model without such a head; this one has {named(both)} (`outpace graft detach` takes them off)"
        raise ConfigError("BASE", str(trunk.path), expected)


def _differences(model: Metadata, head: Metadata, donor: Path) -> list[str]:
    """Return in which numbers of the architecture the head's file differs: those of the model hold for both."""
    arch = model.str("general.architecture")
    own = {f"{arch}.{name}" for name in ("block_count", "vocab_size", "context_length")}
    own |= keys_of(arch)

    def told(metadata: Metadata, key: str) -> Any:
        return metadata[key] if metadata.entry(key).count is None else None

    return [
        f"{key} is {told(model, key)} here and {told(head, key)} in {donor}: the model's holds"
        for key in model
        if key.startswith(f"{arch}.") and key in head and key not in own and told(model, key) != told(head, key)
    ]
