"""The service in the test's own process, for every test that asks for it."""

from tests.recommend.house import house, served, stub

__all__ = ["house", "served", "stub"]
