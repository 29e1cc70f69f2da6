"""What the tree may hold: names, lengths, words, and imports that go one way."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "native", "tests", "bench", "tools", "docs")
KINDS = (".py", ".pyi", ".cpp", ".h", ".md", ".toml", ".txt", ".yaml")
FILES = sorted(
    [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in KINDS]
    + [path for path in ROOT.iterdir() if path.is_file() and (path.suffix in KINDS or path.name == "Makefile")]
)
CODE = [path for path in FILES if path.suffix in (".py", ".cpp", ".h")]

MISSING_IDEAS = ("utils", "util", "helpers", "helper", "common", "base", "manager", "misc")
MOST_LINES = 400

# Files that are longer, and why.
LONG: dict[str, str] = {}

# Pattern -> why not. Written so that this file does not hold what it looks for.
FORBIDDEN = {
    r"\b(FIX" + r"ME|XX" + r"X|HA" + r"CK)\b": "mend it, or say in words what is wrong",
    r"\bTO" + r"DO\b(?! \(#\d+\))": "a thing to do names its issue",
    r"(?<![\w.])/(root|home/\w+|Users/\w+|work)/": "a path of one machine",
    r"-ffast" + "-math": "it makes results depend on the compiler",
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CODE, ids=name)
def test_modules_are_named_for_an_idea(path: Path) -> None:
    parts = {part.removesuffix(path.suffix) for part in path.relative_to(ROOT).parts}
    assert not parts & set(MISSING_IDEAS)


def test_files_are_short_or_say_why() -> None:
    lengths = {name(path): len(path.read_text().splitlines()) for path in CODE}
    too_long = {path: n for path, n in lengths.items() if n > MOST_LINES}
    assert set(too_long) == set(LONG), f"over {MOST_LINES} lines: {too_long}"


def test_no_file_says_what_is_forbidden() -> None:
    for path in FILES:
        text = path.read_text()
        for pattern, reason in FORBIDDEN.items():
            found = re.search(pattern, text)
            assert found is None, f"{name(path)}: {found[0] if found else ''}: {reason}"


def test_every_module_says_what_it_is() -> None:
    for path in (path for path in CODE if path.suffix != ".cpp"):
        first = path.read_text().lstrip()[:2]
        is_said = first in ('""', "//", "#p", 'r"') or (path.name == "__init__.py" and first == "")
        assert is_said, f"{name(path)} starts without a sentence about itself"


def test_imports_go_one_way() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stdout
