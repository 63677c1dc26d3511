"""What every test may ask for; each fixture lives in the file that is named after it."""

from hypothesis import HealthCheck, settings

from tests.fixtures.counts import FULL

# How long an example takes says how busy the machine is, and nothing of the property. `make test` tries the same
# examples every time, so that it judges the change and not its luck; `make chaos` looks for new ones.
settings.register_profile(
    "lifecircle", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=not FULL, print_blob=True
)
settings.load_profile("lifecircle")

pytest_plugins = ["tests.fixtures.clock", "tests.fixtures.ids", "tests.fixtures.postgres", "tests.fixtures.serving"]
