"""The peer as a server: greedy text token by token, and how near each choice was; no other program of it tells that."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.peer import CRASHES, Peer

STARTS_IN_S = 60

# KV in float32 and no flash attention, which would round them to float16.
EXACT = ("-ctk", "f32", "-ctv", "f32", "-fa", "off")


@dataclass(frozen=True, slots=True)
class Written:
    """An answer of the peer.

    Attributes:
        tokens: What it wrote.
        gaps: For each token how far its logit was above the next one's; None where it did not tell.
    """

    tokens: list[int]
    gaps: list[float | None]


class Server:
    """llama-server with one model.

    State: a process, ended at the end of the `with` block.
    """

    def __init__(self, peer: Peer, path: Path, context: int, options: Sequence[object] = EXACT) -> None:
        self._peer, self._path, self._context, self._options = peer, path, context, [str(each) for each in options]
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the server ends
        self._port = 0

    def __enter__(self) -> Server:
        self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop()
        self._log.close()

    def tokens(self, text: str) -> list[int]:
        """Return the tokens it reads in a text."""
        found: list[int] = self._ask("tokenize", {"content": text, "add_special": True})["tokens"]
        return found

    def write(self, prompt: list[int], n: int) -> Written:
        """Write on greedily; tokens that end a text are forbidden to it."""
        said = self._ask(
            "completion",
            {
                "prompt": prompt,
                "n_predict": n,
                "samplers": ["temperature"],
                "temperature": 0,
                "ignore_eos": True,
                "n_probs": 2,
                "return_tokens": True,
                "cache_prompt": False,
            },
        )
        tokens: list[int] = said["tokens"]
        gaps: list[float | None] = [None] * len(tokens)
        at = 0
        for choice in said["completion_probabilities"]:
            # It tells nothing of a token that ends inside a character.
            at = tokens.index(choice["id"], at)
            first, second = (each["logprob"] for each in choice["top_logprobs"])
            gaps[at] = first - second
            at += 1
        return Written(tokens, gaps)

    def time(self, prompt: list[int], n: int, *, ignore_eos: bool = True) -> dict[str, float]:
        """Write on greedily and return its own `timings`; nothing is computed but the text."""
        greedy = {"samplers": ["temperature"], "temperature": 0, "ignore_eos": ignore_eos, "cache_prompt": False}
        found: dict[str, float] = self._ask("completion", {"prompt": prompt, "n_predict": n} | greedy)["timings"]
        return found

    def _start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        threads = str(self._peer.threads)
        command = [str(self._peer.folder / "llama-server"), "-m", str(self._path), "-c", str(self._context)]
        command += ["--host", "127.0.0.1", "--port", str(self._port), "-np", "1", "-t", threads, "-tb", threads]
        command += self._options
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, env=self._peer.environment()
        )
        end = time.monotonic() + STARTS_IN_S
        while time.monotonic() < end:
            if self._process.poll() is not None:
                return self._again()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=5):
                    return None
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        self._stop()
        raise SystemExit(f"llama-server did not start within {STARTS_IN_S} s\n{self._said()}")

    def _again(self) -> None:
        """Start once more without AMX after a crash."""
        assert self._process is not None
        status = self._process.returncode
        if status not in CRASHES or self._peer.is_amx_refused:
            raise SystemExit(f"llama-server ended with {status}\n{self._said()}")
        self._peer.is_amx_refused = True
        self._start()

    def _ask(self, what: str, content: dict[str, Any]) -> Any:
        try:
            return self._post(what, content)
        except urllib.error.HTTPError as error:
            raise SystemExit(f"llama-server: {error.read().decode(errors='replace')}") from None
        except OSError:
            assert self._process is not None
            self._process.wait(STARTS_IN_S)
            self._again()
            return self._post(what, content)

    def _post(self, what: str, content: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/{what}", json.dumps(content).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read())

    def _stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(STARTS_IN_S)

    def _said(self) -> str:
        self._log.seek(0)
        return self._log.read()[-2000:].decode(errors="replace")
