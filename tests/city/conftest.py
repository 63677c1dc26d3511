"""One small city for the tests of this folder."""

import pytest

from tests.city.made import Made, make


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """300 customers over 10 days."""
    return make(tmp_path_factory.mktemp("city"))
