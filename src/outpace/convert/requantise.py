"""A GGUF file as content to be written again: all its keys, all its tensors, those of its heads among them."""

from __future__ import annotations

from dataclasses import replace

from outpace.convert.content import Content
from outpace.convert.mix import PLAIN
from outpace.convert.rows import Blocks
from outpace.errors import ModelFileError, UnsupportedError
from outpace.gguf.file import GGUFFile
from outpace.gguf.heads import MOST_LAYERS, count_key
from outpace.gguf.quants import DEQUANTIZABLE
from outpace.gguf.types import GGMLType
from outpace.gguf.writer import keys_as_they_are

# Keys about a file's types, and where its tensors begin: a file with other types has its own.
_OF_THE_TYPES = ("general.file_type", "general.quantization_version", "general.alignment")


def read_gguf(file: GGUFFile) -> Content:
    """Return what a file holds, to be written with types of its own.

    Raises:
        ModelFileError: It has no architecture, or counts of layers that cannot be.
        UnsupportedError: A tensor has a type that cannot be read.
    """
    content = as_it_is(file)
    for name, info in file.tensors.items():
        if info.type not in DEQUANTIZABLE:
            known = sorted(kind.name for kind in DEQUANTIZABLE)
            raise UnsupportedError(f"reading tensor '{name}' of type", info.type.name, known)
    rounded = sorted({info.type.name for info in file.tensors.values() if info.type not in PLAIN})
    notes = (
        (f"the file is {', '.join(rounded)} already: rounding twice loses more than rounding the original once",)
        if rounded
        else ()
    )
    keys = {key: value for key, value in content.keys.items() if not key.startswith(_OF_THE_TYPES)}
    return replace(content, keys=keys, notes=notes)


def as_it_is(file: GGUFFile) -> Content:
    """Return what a file holds, to be written as it is: every key but those of a cut into parts, tensors of any type.

    Raises:
        ModelFileError: It has no architecture, or counts of layers that cannot be.
    """
    metadata = file.metadata
    arch = metadata.str("general.architecture")
    n_all = metadata.int(f"{arch}.block_count")
    n_mtp = metadata.int(f"{arch}.nextn_predict_layers", 0)
    if n_all > MOST_LAYERS:
        raise ModelFileError(file.path, f"is {n_all}; expected at most {MOST_LAYERS}", f"metadata '{arch}.block_count'")
    if not 0 <= n_mtp < n_all:
        problem = f"is {n_mtp} with a block_count of {n_all}"
        raise ModelFileError(file.path, problem, f"metadata '{arch}.nextn_predict_layers'")
    tensors = {name: Blocks(file, info) for name, info in file.tensors.items()}
    n_medusa = metadata.int(count_key(arch, "medusa"), 0)
    return Content(arch, keys_as_they_are(metadata), dict(tensors), n_all - n_mtp, n_mtp, n_medusa=n_medusa)


def types_of(file: GGUFFile) -> dict[str, GGMLType]:
    """Return the type of each tensor."""
    return {name: info.type for name, info in file.tensors.items()}
