"""Where a head comes from: a GGUF file that has one, a head's file, or a Hugging Face folder; seen as a head alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from outpace.convert.architectures import read_architecture
from outpace.convert.checkpoint import Checkpoint
from outpace.convert.mix import MIXES
from outpace.convert.mtp import alone
from outpace.convert.tokenizer import tokenizer_keys
from outpace.convert.write import Progress, write_model
from outpace.errors import ConfigError, ModelFileError, nearest
from outpace.gguf.file import GGUFFile, open_gguf
from outpace.gguf.heads import count_key, kind_of, kinds_of
from outpace.gguf.tokens import Tokens

DEFAULT_TYPE: Final = "Q8_0"
_PREFIX: Final = "mtp."  # of a head's tensors in a folder
# By what name a folder's tokenizer cuts text need not be known: its tokens and merges are compared.
_ANY_CUTS: Final = "gpt-2"


@dataclass(frozen=True)
class Donor:
    """A head.

    Attributes:
        head: Its file, with its tensors alone; open while the donor is.
        tokens: What it was made for.
    """

    head: GGUFFile
    tokens: Tokens


@contextmanager
def open_donor(path: Path, mix: str | None, beside: Path, n_threads: int, progress: Progress) -> Iterator[Donor]:
    """Open a head.

    Args:
        path: A GGUF file with a head, or a folder with config.json and the safetensors of one.
        mix: Name of the mix that a folder's tensors are rounded to, `DEFAULT_TYPE` if None; a file's have types.
        beside: The file that is to be written; what a folder's head takes on the disk lies beside it for a while.
        n_threads: Threads that round.
        progress: Called while a folder's head is rounded.

    Raises:
        ConfigError: No such type, or one for a file.
        ModelFileError: It has no head, or is damaged.
        UnsupportedError: It is a folder of a kind that cannot be read.
    """
    if not path.is_dir():
        if mix is not None:
            expected = f"none, as {path} is a GGUF file, whose tensors keep their types (`outpace convert` rounds them)"
            raise ConfigError("--type", mix, expected)
        with open_gguf(path) as file:
            yield Donor(_alone(file, path), Tokens.of(path, file.metadata))
        return
    mix = mix or DEFAULT_TYPE
    if mix not in MIXES:
        raise ConfigError("--type", mix, f"one of {', '.join(MIXES)}{nearest(mix, MIXES)}")
    checkpoint = Checkpoint(path, only=_PREFIX)
    content = read_architecture(checkpoint)
    if not content.n_mtp:
        raise ModelFileError(path, f"there is no head in this folder: no tensor's name begins with {_PREFIX}layers.")
    keys, _ = tokenizer_keys(checkpoint, _ANY_CUTS)
    tokens = replace(Tokens.of(path, content.keys | keys), pre=None)
    with _folder(beside) as folder:
        part = folder / "head.part"
        write_model(alone(content, ("mtp",)), MIXES[mix], path, part, n_threads, progress)
        with open_gguf(part) as file:
            yield Donor(_alone(file, path), tokens)


@contextmanager
def _folder(beside: Path) -> Iterator[Path]:
    """Make a hidden folder for a while; its name is always the same, so that what a killed run left goes too."""
    folder = beside.with_name(f".{beside.name}.head")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _alone(file: GGUFFile, path: Path) -> GGUFFile:
    """Return a file with the tensors of its heads and no others; messages name `path`."""
    metadata = file.metadata
    arch, kinds = metadata.str("general.architecture"), kinds_of(metadata)
    n_layers = metadata.int(f"{arch}.block_count") - metadata.int(count_key(arch, "mtp"), 0)
    if not kinds:
        problem = "there is no head in this file: it has no multi-token-prediction layers and no Medusa heads"
        raise ModelFileError(path, problem)
    own = {name: info for name, info in file.tensors.items() if kind_of(name, n_layers) in kinds}
    return replace(file, path=path, tensors=MappingProxyType(own))
