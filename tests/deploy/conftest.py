"""What the tests of the chart need: a Helm that runs."""

import pytest

from tools.helm import HelmMissing, helm


@pytest.fixture(scope="module")
def chart_helm() -> None:
    """Skips what renders the chart where a Helm is neither on PATH nor to be fetched."""
    try:
        helm()
    except HelmMissing as missing:
        pytest.skip(f"the chart is not looked at: no Helm on PATH, and {missing}")
