"""The peer, llama.cpp: its bench, completions and logits, driven as its users would, and what it says it is doing.

The folder with its programs comes from `--peer DIR` or from BENCH_PEER. Nothing here changes how it works,
except that AMX is refused to it where it crashes there (`refuse_amx.c`).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from outpace.gguf.file import open_gguf

VARIABLE = "BENCH_PEER"
CRASHES = (-signal.SIGILL, -signal.SIGSEGV)
NO_AMX = ", AMX refused to it (it crashes in its AMX kernels on this machine)"

# Room for a text that the peer cuts into more tokens than we do: then it answers, and the difference is seen.
SLACK = 256


@dataclass(frozen=True, slots=True)
class Text:
    """What the peer wrote.

    Attributes:
        text: The answer, without the prompt.
        tokens_per_s: Its own count for the answer.
        wall_s: From its start to its end, loading included.
    """

    text: str
    tokens_per_s: float
    wall_s: float


@dataclass
class Peer:
    """A folder of llama.cpp's programs.

    State: whether AMX is refused, learnt from the first crash.

    Attributes:
        folder: Where `llama-bench` is.
        threads: How many it is given.
        facts: What it said about its own settings.
    """

    folder: Path
    threads: int
    facts: dict[str, Any] = field(default_factory=dict)
    is_amx_refused: bool = False

    def steps(self, path: Path, widths: Sequence[int], repetitions: int, decode: int = 16) -> dict[int, list[float]]:
        """Return seconds of a step by its width: width 1 from decoding, the others from prompts of that length.

        Args:
            path: The model.
            widths: Tokens of a step, 1 and up.
            repetitions: Values for each width.
            decode: Tokens decoded for one value of width 1.
        """
        prompts = [width for width in widths if width > 1]
        arguments = ["-p", ",".join(map(str, prompts or [0])), "-n", decode if 1 in widths else 0]
        found: dict[int, list[float]] = {}
        for row in self._bench(path, arguments, repetitions):
            is_decode = row["n_gen"] > 0
            n = row["n_gen"] if is_decode else 1
            found[1 if is_decode else row["n_prompt"]] = [ns / 1e9 / n for ns in row["samples_ns"]]
        return found

    def prefill(self, path: Path, n_tokens: int, repetitions: int) -> list[float]:
        """Return seconds to read a prompt."""
        (row,) = self._bench(path, ["-p", n_tokens, "-n", 0], repetitions)
        return [ns / 1e9 for ns in row["samples_ns"]]

    def complete(self, path: Path, prompt: str, n_tokens: int) -> Text:
        """Write on greedily from a prompt as it is."""
        began = time.perf_counter()
        run = self._run(
            "llama-completion",
            *("-m", path, "-p", prompt, "-n", n_tokens, "-t", self.threads, "-tb", self.threads),
            *("--temp", 0, "--ignore-eos", "-no-cnv", "--no-display-prompt", "--no-warmup", "--perf"),
        )
        wall_s = time.perf_counter() - began
        rate = re.search(r"^.*\beval time =.*?runs.*?([\d.]+) tokens per second", run.stderr, re.MULTILINE)
        return Text(run.stdout, float(rate[1]) if rate else 0.0, wall_s)

    def logits(self, path: Path, text: str, n_tokens: int) -> tuple[list[int], NDArray[np.float32]]:
        """Return the tokens it reads in a text, about `n_tokens`, and the logits of every one, float32 [T, V]."""
        room = n_tokens + SLACK
        with tempfile.TemporaryDirectory(prefix="outpace-bench-") as folder:
            prompt, results = Path(folder) / "prompt.txt", Path(folder) / "results.gguf"
            prompt.write_bytes(text.encode())
            self._run(
                "llama-results",
                *("-m", path, "--binary-file", prompt, "-o", results, "-c", room, "-b", room),
                *("-t", self.threads, "-tb", self.threads),
            )
            with open_gguf(results) as file:
                tokens = np.frombuffer(file.data("tokens"), np.int32).tolist()
                logits = np.frombuffer(file.data("logits"), np.float32).reshape(len(tokens), -1).copy()
        return tokens, logits

    def version(self) -> str:
        """Return what it calls itself."""
        run = self._run("llama-results", "--version")
        found = re.search(r"^version: (.+)$", run.stdout + run.stderr, re.MULTILINE)
        return f"llama.cpp {found[1] if found else 'of an unknown version'}"

    def describe(self) -> str:
        """Say in a sentence what it does, after it has run once."""
        f = self.facts
        if not f:
            return "it has not run yet"
        attention = {-1: "chosen by itself", 0: "off", 1: "on"}.get(f["flash_attn"], f["flash_attn"])
        return (
            f"llama.cpp {f['build_commit']} ({f['build_number']}): {f['n_threads']} threads, load mode {f['load_mode']}"
            f", repacking {'on' if f['repack'] else 'off'}, flash attention {attention}, KV {f['type_k']}/{f['type_v']}"
            f", steps of up to {f['n_ubatch']} tokens, polling {f['poll']}" + (NO_AMX if self.is_amx_refused else "")
        )

    def _bench(self, path: Path, arguments: Sequence[object], repetitions: int) -> list[dict[str, Any]]:
        run = self._run("llama-bench", "-m", path, *arguments, "-r", repetitions, "-t", self.threads, "-o", "json")
        rows: list[dict[str, Any]] = json.loads(run.stdout)
        kept = ("build_commit", "build_number", "n_threads", "load_mode", "repack", "flash_attn", "type_k", "type_v")
        self.facts.update({name: rows[0].get(name) for name in (*kept, "n_ubatch", "n_batch", "poll")})
        return rows

    def _run(self, program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Run a program of the peer; try once more without AMX if it crashes."""
        command = [str(self.folder / program), *map(str, arguments)]
        run = self._once(command)
        if run.returncode in CRASHES and not self.is_amx_refused:
            self.is_amx_refused = True
            run = self._once(command)
        if run.returncode:
            raise SystemExit(f"{program} ended with {run.returncode}\n{run.stderr[-2000:]}")
        return run

    def environment(self) -> dict[str, str]:
        """Return the environment that its programs are to be run in."""
        environment = dict(os.environ)
        libraries = [str(self.folder), environment.get("LD_LIBRARY_PATH", "")]
        environment["LD_LIBRARY_PATH"] = ":".join(each for each in libraries if each)
        if self.is_amx_refused:
            environment["LD_PRELOAD"] = str(_shim())
        return environment

    def _once(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=self.environment(), stdin=subprocess.DEVNULL
        )


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add `--peer` to a bench."""
    parser.add_argument("--peer", type=Path, metavar="DIR", help=f"llama.cpp's programs (or {VARIABLE})")


def chosen(folder: Path | None, threads: int) -> Peer | None:
    """Return the peer that was asked for, if any; the variable is ours alone and is taken out of the environment.

    Raises:
        SystemExit: There is no `llama-bench` in the folder.
    """
    named = os.environ.pop(VARIABLE, "")
    folder = folder or (Path(named) if named else None)
    if folder is None:
        return None
    folder = folder.expanduser().resolve()
    if not (folder / "llama-bench").exists():
        raise SystemExit(f"no llama-bench in {folder}")
    return Peer(folder, threads)


@functools.cache
def _shim() -> Path:
    """Compile `refuse_amx.c`."""
    library = Path(tempfile.mkdtemp(prefix="outpace-bench-")) / "refuse_amx.so"
    source = Path(__file__).with_name("refuse_amx.c")
    command = [os.environ.get("CC", "cc"), "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return library
