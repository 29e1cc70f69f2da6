"""Pages made from code are those the code makes now."""

from __future__ import annotations

import pytest
from tools.reference import FOLDER, pages


@pytest.mark.parametrize("name", pages())
def test_made_pages_are_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text() == pages()[name], "run .venv/bin/python -m tools.reference"
