"""Write the pages of docs/reference that are made from code, or with --check say which are out of date."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

from tools import card

from outpace import env
from outpace.hub import CATALOGUE, Entry

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
MADE = "<!-- Made by tools/reference.py. -->\n\n"


def environment() -> str:
    """Return the page of OUTPACE_* variables."""
    rows = "".join(f"| `{name}` | {what} | {default} |\n" for name, (what, default) in env.VARIABLES.items())
    return (
        "# Environment\n\n" + MADE + "| variable | what it does | when it is not set |\n|---|---|---|\n" + rows + "\n"
        "An empty variable counts as not set. Any other name that starts with `OUTPACE_` is an error, so that a slip "
        "of the\nkeyboard is not taken for a setting. [Fetching](../how-to/fetch-models.md) also heeds the variables "
        "of pip and of\nhuggingface_hub.\n"
    )


def catalogue() -> str:
    """Return the page of built-in model names."""
    rows = "".join(
        f"| `{e.name}` | {e.description} | {_file(e)[1] / 1e6:.1f} MB | {e.licence} | {_source(e)} |\n"
        for e in CATALOGUE
    )
    sums = "".join(f"| `{e.name}` | `{_file(e)[0]}` |\n" for e in CATALOGUE)
    return (
        "# Catalogue\n\n" + MADE + "| name | model | size | licence | source |\n|---|---|---|---|---|\n" + rows + "\n"
        "A file is used only if its SHA-256 is the one below. [Fetch models](../how-to/fetch-models.md) has the other "
        "ways to\nname a model.\n\n| name | SHA-256 |\n|---|---|\n" + sums
    )


def _file(entry: Entry) -> tuple[str, int]:
    """Return checksum and size of what a name stands for."""
    return (entry.head.joined_sha256, entry.head.joined_bytes) if entry.head else (entry.sha256, entry.bytes)


def _source(entry: Entry) -> str:
    head = f", with [a head]({card.name_of(entry.head)}) that comes with outpace" if entry.head else ""
    return f"`{entry.source}`{head}"


def pages() -> dict[str, str]:
    """Return every made page by its file name."""
    made = {"environment.md": environment(), "catalogue.md": catalogue()}
    made |= {card.name_of(e.head): card.page(e, e.head, MADE) for e in CATALOGUE if e.head}
    if importlib.util.find_spec("outpace.cli.main"):
        from tools.cli_reference import command_line

        made["cli.md"] = command_line(MADE)
    return made


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = [name for name, text in pages().items() if not _is(FOLDER / name, text)]
    for name in stale:
        if not check:
            (FOLDER / name).write_text(pages()[name])
    if check and stale:
        print(f"out of date: {', '.join(stale)}; run .venv/bin/python -m tools.reference", file=sys.stderr)
    return 1 if check and stale else 0


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
