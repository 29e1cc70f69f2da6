"""What the pages tell people to type exists."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(not importlib.util.find_spec("outpace.cli.main"), reason="no command line yet")
@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_exist(page: Path) -> None:
    from tools.cli_reference import commands

    known = commands()
    for line in "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines():
        words = [word for word in shlex.split(line, comments=True) if not re.fullmatch(r"[A-Z_]+=.*", word)]
        if not words or words[0].rpartition("/")[2] != "outpace":
            continue
        name = next((n for n in known if words[1 : 1 + len(n.split())] == n.split()), None)
        assert name is not None, f"{page.name}: no command in: {line}"
        options = {opt for param in known[name].params for opt in (*param.opts, *param.secondary_opts)}
        for word in words:
            if re.match(r"--?[a-z]", word):
                assert word.partition("=")[0] in options, f"{page.name}: outpace {name} has no option {word}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_options_named_in_text_exist(page: Path) -> None:
    if page.name == "CHANGELOG.md" or not importlib.util.find_spec("outpace.cli.main"):
        pytest.skip("an old option may be named in the changelog")
    from tools.cli_reference import commands

    options = {o for c in commands().values() for p in c.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    for word in re.findall(r"`(--[a-z][a-z-]*)", page.read_text()):
        assert word in options, f"{page.name} names {word}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE):
        assert target in targets, f"{page.name} names make {target}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_paths_named_in_text_exist(page: Path) -> None:
    for path in re.findall(r"`((?:src|native|tests|tools|bench|docs)/[\w/.-]+)`", page.read_text()):
        assert (ROOT / path).exists(), f"{page.name} names {path}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_python_blocks_parse_and_import_what_exists(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("outpace"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    is_module = importlib.util.find_spec(f"{node.module}.{alias.name}") is not None
                    assert is_module or hasattr(module, alias.name), f"{page.name}: {ast.unparse(node)}"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_json_blocks_parse(page: Path) -> None:
    for block in blocks(page, "json"):
        json.loads(block)
