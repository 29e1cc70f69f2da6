"""What more than one folder of tests needs."""

from pathlib import Path

import pytest

from outpace import hub


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """The real small model as it comes, fetched once and kept in the cache."""
    return hub.resolve("smollm2-135m", is_bare=True)
