"""Pages made from code are those the code makes now."""

from __future__ import annotations

import pytest
from tools.reference import FOLDER, pages


@pytest.mark.parametrize("name", pages())
def test_made_pages_are_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text() == pages()[name], "run .venv/bin/python -m tools.reference"


@pytest.mark.parametrize("name", pages())
def test_no_row_of_a_table_goes_on_in_the_next_line(name: str) -> None:
    rows = [line for line in pages()[name].splitlines() if line.startswith("|")]
    assert all(row.endswith("|") for row in rows), [row for row in rows if not row.endswith("|")]
