"""What every test of points needs done before it."""

import pytest

from services.points.domain import scoring


@pytest.fixture(scope="session", autouse=True)
def _warm() -> None:
    """Compile the kernel first, as the process does before it serves: no test is to pay for it."""
    scoring.warm()
