"""The fuzzer itself runs, goes on where it was, and sees what it is there to see."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from tools import fuzz_gguf

from outpace.errors import ModelFileError


def run(state, count):
    command = [sys.executable, "tools/fuzz_gguf.py", "--count", str(count), "--state", str(state)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_run_goes_on_where_it_was(tmp_path):
    first = run(tmp_path / "state.json", 60)
    assert (first["next"], first["findings"]) == (60, [])
    more = run(tmp_path / "state.json", 120)
    assert (more["next"], more["findings"]) == (120, [])
    assert more["opened"] + more["refused"] == 120
    assert more["refused"] > first["refused"] > 0


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (lambda *_: [][1], "IndexError"),
        (lambda *_: [0] * 10**7, "HungryError"),
        (lambda *_: (_ for _ in ()).throw(MemoryError("x")), "MemoryError"),
        (lambda path: (_ for _ in ()).throw(ModelFileError(path, "two\nlines")), "ValueError: not one clear sentence"),
    ],
)
def test_what_it_is_there_to_see_is_a_finding(tmp_path, monkeypatch, broken, what):
    monkeypatch.setattr(fuzz_gguf, "open_gguf", broken)
    fuzz_gguf.tracemalloc.start()
    try:
        assert (fuzz_gguf.failure([b"x"], tmp_path, "0") or "").startswith(what)
    finally:
        fuzz_gguf.tracemalloc.stop()


def test_a_finding_is_made_smaller():
    parts = fuzz_gguf.smaller([bytes(50) + b"ab" + bytes(70)], lambda tried: b"ab" in tried[0])
    assert parts == [b"ab"]


def test_the_same_number_gives_the_same_damage(tmp_path):
    pool = fuzz_gguf.seeds(tmp_path)
    twice = [fuzz_gguf.damage(random.Random("0:5"), pool[-1], pool) for _ in range(2)]
    assert twice[0] == twice[1] != pool[-1].parts
