"""A tiny model file, and commands run in this process or in one of their own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bench.random_gguf import write_random_llama

from outpace.cli.main import call
from outpace.gguf.types import GGMLType

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.gguf"
    sizes = {"n_layers": 2, "d_model": 64, "n_heads": 4, "n_kv_heads": 2, "head_dim": 16, "d_ff": 128}
    return write_random_llama(path, type=GGMLType.Q8_0, vocab=700, context=512, **sizes)


@pytest.fixture
def outpace(capfd) -> Call:
    """Run a command line in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = call([str(each) for each in arguments])
        return code, *capfd.readouterr()

    return run


def start(*arguments: object, is_writing: bool = False, **options) -> subprocess.Popen:
    """Start the program in a process of its own.

    Args:
        arguments: Its command line.
        is_writing: It will be interrupted while it makes a file. One that is opened just then is closed by whoever
            collects it, of which Python warns those who ask for warnings.
        options: As `subprocess.Popen` has them.
    """
    warnings = ["-W", "error", *(("-W", "ignore::ResourceWarning") if is_writing else ())]
    command = [sys.executable, *warnings, "-m", "outpace", *map(str, arguments)]
    environment = os.environ | options.pop("env", {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | options
    return subprocess.Popen(command, env=environment, **pipes)
