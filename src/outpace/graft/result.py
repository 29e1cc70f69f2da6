"""A trained head as a file: rounded, with the keys that say what trunk it is for; and joined with that trunk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from outpace.convert.mix import Mix, type_of
from outpace.convert.quantise import encode
from outpace.convert.requantise import as_it_is, types_of
from outpace.convert.write import Progress, Written, write_typed
from outpace.errors import ModelFileError
from outpace.gguf import writer
from outpace.gguf.heads import tokens_key
from outpace.gguf.join import open_with_head
from outpace.gguf.types import ValueType
from outpace.gguf.writer import Typed, write_gguf
from outpace.graft.design import Design


def write_head(
    design: Design, tensors: Mapping[str, Tensor], vocabulary: NDArray[np.int64], mix: Mix, path: Path
) -> None:
    """Write a head alone; the file appears when it is complete.

    Args:
        design: The model's that it is for.
        tensors: What was trained, by name.
        vocabulary: Tokens that its guesses may be, those that the model says most often first.
        mix: The types of its matrices; norms are float32.
        path: Where to; a file that is there is replaced.

    Raises:
        ModelFileError: A value is not finite: the training came apart.
    """
    n_layers = design.config.n_layers
    found: dict[str, writer.Tensor] = {}
    for name, tensor in tensors.items():
        values = tensor.detach().cpu().float().numpy()
        if not np.isfinite(values).all():
            raise ModelFileError(path, "holds values that are not finite; train with a smaller --lr", f"'{name}'")
        kind = type_of(mix, name, values.shape, n_layers, is_tied=False)
        found[name] = (kind, values.shape, encode(values, kind))
    for name, ref in design.frozen.items():
        if name.startswith(design.prefix):  # tables of its own, which are not trained
            found[name] = (ref.type, ref.shape, design.file.data(name))
    said = Typed(ValueType.INT32, vocabulary.astype(np.int32))
    keys = design.keys | {tokens_key(design.definition.arch, design.kind): said}
    write_gguf(path, keys, found, is_durable=True)


def write_whole(trunk: Path, head: Path, path: Path, progress: Progress) -> Written:
    """Write a trunk and its head as one file, every tensor byte for byte; it appears when it is complete."""
    with open_with_head(trunk, head) as file:
        return write_typed(as_it_is(file), types_of(file), trunk, path, 1, progress)
