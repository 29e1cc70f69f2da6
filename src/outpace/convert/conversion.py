"""One conversion, from end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from outpace.convert.architectures import read_architecture
from outpace.convert.checkpoint import Checkpoint
from outpace.convert.content import Content
from outpace.convert.mix import MIXES
from outpace.convert.mtp import select
from outpace.convert.requantise import read_gguf
from outpace.convert.tokenizer import tokenizer_keys
from outpace.convert.write import Progress, Written, check_target, unseen, write_model
from outpace.errors import ConfigError, nearest
from outpace.gguf.file import open_gguf


def convert(
    source: Path,
    path: Path,
    *,
    type: str = "Q8_0",  # noqa: A002
    mtp: str = "keep",
    pre: str | None = None,
    is_forced: bool = False,
    n_threads: int = 1,
    progress: Progress = unseen,
) -> Written:
    """Make a GGUF file of a Hugging Face folder, or of another GGUF file.

    Args:
        source: A folder with config.json and safetensors files, or a GGUF file (of a split one, any part).
        path: Where to.
        type: A name in `MIXES`.
        mtp: What of multi-token-prediction layers to write; see `mtp.select`.
        pre: The pre-tokenizer's name, where it is not to be recognised.
        is_forced: Replace a file that is there.
        n_threads: Threads that round.
        progress: Called with what is done, bytes written and bytes in all.

    Raises:
        ConfigError: An option is out of range, or the file is there.
        ModelFileError: The source is damaged, or has what nobody knows.
        UnsupportedError: It is well formed and cannot be converted.
        ResourceError: The disk is too small.
    """
    if type not in MIXES:
        raise ConfigError("--type", type, f"one of {', '.join(MIXES)}{nearest(type, MIXES)}")
    check_target(path, is_forced)
    mix = MIXES[type]

    def write(content: Content) -> Written:
        return write_model(select(content, mtp), mix, source, path, n_threads, progress)

    if not source.is_dir():
        with open_gguf(source) as file:
            return write(read_gguf(file))
    checkpoint = Checkpoint(source)
    content = read_architecture(checkpoint)
    keys, notes = tokenizer_keys(checkpoint, pre)
    name = {"general.name": source.resolve().name}
    return write(replace(content, keys=content.keys | name | keys, notes=(*checkpoint.notes, *content.notes, *notes)))
