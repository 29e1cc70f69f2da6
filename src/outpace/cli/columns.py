"""Plain tables on standard output."""

from __future__ import annotations

from collections.abc import Sequence

import typer


def show(table: Sequence[Sequence[str]]) -> None:
    """Print a table whose first row are headings, its columns to the right."""
    sizes = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    for row in table:
        typer.echo("  ".join(cell.rjust(size) for cell, size in zip(row, sizes, strict=True)))
