"""A model file written again with some of its keys and tensors changed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from outpace.gguf.file import open_gguf
from outpace.gguf.writer import Tensor, Typed, write_gguf


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return a file's keys and tensors as they are written."""
    with open_gguf(path) as file:
        keys = {key: Typed(file.metadata.entry(key).kind, value) for key, value in file.metadata.items()}
        return keys, {name: (info.type, info.shape, file.data(name).copy()) for name, info in file.tensors.items()}


def rewritten(
    path: Path,
    folder: Path,
    keys: Mapping[str, Any] | None = None,
    tensors: Mapping[str, Tensor] | None = None,
    without: str | None = None,
) -> Path:
    """Write the file with other keys (None for none of that name), more tensors, or without one; return where."""
    own, held = read(path)
    changed = {key: value for key, value in {**own, **(keys or {})}.items() if value is not None}
    found = {name: tensor for name, tensor in {**held, **(tensors or {})}.items() if name != without}
    write_gguf(folder / "changed.gguf", changed, found)
    return folder / "changed.gguf"
