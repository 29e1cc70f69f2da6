"""A model small enough to train a head for in seconds, and the training of it as a process that can be killed."""

import json
import os
import signal
import sys
import threading
from pathlib import Path

from tests.support import tiny, toy_metadata

SIZES = {"d_model": 32, "d_ff": 64, "n_heads": 2, "n_kv_heads": 1, "head_dim": 16, "n_layers": 2}
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def write_model(path: Path, arch: str = "llama") -> Path:
    """Write a tiny model with random weights and a tokenizer of bytes."""
    text = dict(toy_metadata.toy_gpt2())
    text["tokenizer.ggml.tokens"] = list(text["tokenizer.ggml.tokens"])
    text["tokenizer.ggml.merges"] = list(text["tokenizer.ggml.merges"])
    sizes = SIZES | {"n_vocab": len(text["tokenizer.ggml.tokens"])}
    return tiny.write(path, tiny.metadata(arch, **sizes) | text, tiny.arrays(tiny.shapes(arch, **sizes), 1))


def write_prompts(path: Path, n: int = 60) -> Path:
    """Write prompts of a few letters each."""
    path.write_text("".join(f"{LETTERS[i % 26]}{LETTERS[i * 7 % 26]}{LETTERS[i // 26]}\n" for i in range(n)))
    return path


def main(settings: str, kill_after_s: str = "0") -> None:
    """Train as the command does, but for the judgement of speed, which means nothing for a model of this size.

    The state is kept several times a second; the process kills itself after so many seconds, if not 0.
    """
    from outpace.graft import train, trainer
    from outpace.graft.report import Report, judged

    class Lenient(Report):
        slower = ""

    def lenient(*given: object) -> Report:
        found = judged(*given)  # type: ignore[arg-type]
        return Lenient(found.before, found.after)

    trainer.SAVE_S = 0.3
    if float(kill_after_s):
        threading.Timer(float(kill_after_s), os.kill, (os.getpid(), signal.SIGKILL)).start()
    paths = ("base", "out", "prompts", "head_only", "work")
    given = {key: Path(value) if key in paths else value for key, value in json.loads(settings).items()}
    train.train(train.Job(**given), lambda *_: None, lenient)


if __name__ == "__main__":
    main(*sys.argv[1:])
