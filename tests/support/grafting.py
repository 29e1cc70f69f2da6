"""A model small enough to train a head for in seconds, and the training of it as a process that can be killed."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

from tests.support import tiny

from outpace.gguf.file import open_gguf

SIZES = {"d_model": 32, "d_ff": 64, "n_heads": 2, "n_kv_heads": 1, "head_dim": 16, "n_layers": 2}
SMALL = {"tokens": 9000, "parallel": 4, "passes": 6, "batch": 2, "lr": 3e-3, "threads": 1}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write_model(path: Path, arch: str = "llama") -> Path:
    """Write a tiny model with random weights and a tokenizer of bytes."""
    return tiny.write_speaking(path, arch, seed=1, **SIZES)


def write_prompts(path: Path, n: int = 60) -> Path:
    """Write prompts of a few letters each."""
    path.write_text("".join(f"{LETTERS[i % 26]}{LETTERS[i * 7 % 26]}{LETTERS[i // 26]}\n" for i in range(n)))
    return path


def write_given(folder: Path) -> dict[str, Path]:
    """Write what a training is given: a model and prompts, by their names among its settings."""
    return {"base": write_model(folder / "base.gguf"), "prompts": write_prompts(folder / "prompts.txt")}


def run(given: dict[str, Path], out: Path, kill_after_s: float = 0.0, **more: object) -> int:
    """Train in a process of its own; return its exit code."""
    paths = {name: str(path) for name, path in (given | {"out": out}).items()}
    command = [sys.executable, "-m", "tests.support.grafting", json.dumps(paths | SMALL | more), str(kill_after_s)]
    return subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode


def contents(path: Path) -> dict[str, bytes]:
    """Return the bytes of a file's tensors by name."""
    with open_gguf(path) as file:
        return {name: file.data(name).tobytes() for name in file.tensors}


def main(settings: str, kill_after_s: str = "0") -> None:
    """Train as the command does, but for the judgement of speed, which means nothing for a model of this size.

    The state is kept several times a second; the process kills itself after so many seconds, if not 0.
    """
    from outpace.graft import train, trainer
    from outpace.graft.report import Report, judged

    def lenient(*given: object) -> Report:
        found = judged(*given)  # type: ignore[arg-type]
        return replace(found, after=replace(found.after, all=replace(found.after.all, ratios={})))

    trainer.SAVE_S = 0.3
    if float(kill_after_s):
        threading.Timer(float(kill_after_s), os.kill, (os.getpid(), signal.SIGKILL)).start()
    paths = ("base", "out", "prompts", "head_only", "work")
    given = {key: Path(value) if key in paths else value for key, value in json.loads(settings).items()}
    train.train(train.Job(**given), lambda *_: None, lenient)


if __name__ == "__main__":
    main(*sys.argv[1:])
