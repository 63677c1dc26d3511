"""Versions of the points contract."""
