"""A Hugging Face folder: its settings, and the tensors of all its safetensors files asked for by name and shape."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from outpace.convert.rows import Rows, Unread
from outpace.convert.safetensors import SafetensorsFile, open_safetensors
from outpace.convert.settings import Settings, read_json
from outpace.errors import ModelFileError
from outpace.gguf.cursor import shown

# Where the text model of a multimodal checkpoint is, and what its parts would be called without the others.
_PREFIXES: Final = {
    "model.language_model.": "model.",
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
}
# Parts that are no text model; and buffers that older versions wrote, which are computed.
_OTHER_PARTS: Final = re.compile(r"(model\.)?(visual|vision_tower|multi_modal_projector|audio_tower)\.")
_BUFFERS: Final = re.compile(r".*\.rotary_emb\.inv_freq|.*\.masked_bias")


class Checkpoint:
    """The files of a folder. Asking for a tensor says that it is used; what nobody asked for is known.

    Args:
        folder: Where they are.
        only: What the names of the tensors that are wanted begin with; others need not be there, and are not read.

    Attributes:
        folder: Where they are.
        settings: What config.json says of the text model.
        notes: What a person should know about what was left aside.

    State: which tensors were asked for.
    """

    def __init__(self, folder: Path, only: str = "") -> None:
        config = folder / "config.json"
        if not config.is_file():
            raise ModelFileError(folder, "there is no config.json; a Hugging Face folder or a GGUF file is expected")
        self.folder, self.settings = folder, Settings(config, read_json(config))
        self.notes: list[str] = []
        self._only = only
        self._tensors: dict[str, tuple[SafetensorsFile, str]] = {}
        self._asked: set[str] = set()
        n_other = 0
        for file in self._open_all():
            for stored in file.tensors:
                if _OTHER_PARTS.match(stored):
                    n_other += 1
                elif not _BUFFERS.fullmatch(stored):
                    self._add(file, stored)
        if n_other:
            self.notes.append(f"{n_other} tensors of parts that are not the text model are left out")

    def take(self, name: str, *shape: int) -> Rows:
        """Return the tensor of this name, to be read.

        Args:
            name: As in a checkpoint of the text model alone.
            shape: The sizes expected, outermost first.

        Raises:
            ModelFileError: There is none, or it has another shape; the message names the nearest.
            UnsupportedError: Its type cannot be converted.
        """
        if not name.startswith(self._only):
            return Unread(shape)
        if name not in self._tensors:
            near = get_close_matches(name, self._tensors, n=3, cutoff=0.6)
            hint = f"; near it: {', '.join(map(shown, near))}" if near else ""
            raise ModelFileError(
                self.folder, f"expected one of shape {list(shape)}, there is none{hint}", f"tensor '{name}'"
            )
        file, stored = self._tensors[name]
        found = file.tensors[stored].shape
        if found != shape:
            problem = f"expected shape {list(shape)}, found {list(found)}"
            raise ModelFileError(file.path, problem, f"tensor '{shown(stored)}'")
        self._asked.add(name)
        return file.rows(stored)

    def has(self, name: str) -> bool:
        """Return whether there is a tensor of this name."""
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a tensor, None where there is none."""
        found = self._tensors.get(name)
        return found[0].tensors[found[1]].shape if found else None

    def names(self, prefix: str) -> list[str]:
        """Return the names that begin so."""
        return [name for name in self._tensors if name.startswith(prefix)]

    def leave(self, name: str) -> None:
        """Say that a tensor is known and not needed."""
        self._asked.add(name)

    def check_all_used(self) -> None:
        """Raise ModelFileError where the folder has tensors that nobody asked for: what they do would be missing."""
        left = [name for name in self._tensors if name.startswith(self._only) and name not in self._asked]
        if left:
            some = ", ".join(map(shown, left[:4])) + (f" and {len(left) - 4} more" if len(left) > 4 else "")
            kind = self.settings.model_type
            raise ModelFileError(self.folder, f"tensors that a {kind} model is not known to have: {some}")

    def _add(self, file: SafetensorsFile, stored: str) -> None:
        name = stored
        for prefix, instead in _PREFIXES.items():
            if stored.startswith(prefix):
                name = instead + stored.removeprefix(prefix)
        if name in self._tensors:
            other = self._tensors[name][0].path.name
            raise ModelFileError(file.path, f"is in {other} too", f"tensor '{shown(stored)}'")
        self._tensors[name] = (file, stored)

    def _open_all(self) -> list[SafetensorsFile]:
        here = {path.name: path for path in sorted(self.folder.glob("*.safetensors"))}
        index = self.folder / "model.safetensors.index.json"
        if not index.exists():
            if not here:
                raise ModelFileError(self.folder, "there are no .safetensors files; other formats are not read")
            return [open_safetensors(path) for path in here.values()]
        places = read_json(index).get("weight_map")
        if not isinstance(places, dict) or not places or not all(isinstance(each, str) for each in places.values()):
            raise ModelFileError(index, "expected a JSON object of tensor and file names", "'weight_map'")
        named = sorted(set(places.values()))
        for name in named:
            if name not in here:
                raise ModelFileError(index, f"names the file '{shown(name)}', which is not in the folder")
        aside = sorted(set(here) - set(named))
        if aside:
            self.notes.append(f"not named by {index.name} and not read: {', '.join(aside)}")
        files = {name: open_safetensors(here[name]) for name in named}
        for tensor, name in places.items():
            if tensor not in files[name].tensors:
                raise ModelFileError(
                    here[name], "the index says it is in this file; it is not", f"tensor '{shown(tensor)}'"
                )
        return list(files.values())
