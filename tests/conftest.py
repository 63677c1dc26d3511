"""What every test may ask for; each fixture lives in the file that is named after it."""

pytest_plugins = ["tests.fixtures.clock", "tests.fixtures.ids", "tests.fixtures.postgres", "tests.fixtures.serving"]
