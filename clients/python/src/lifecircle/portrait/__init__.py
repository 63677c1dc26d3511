"""Versions of the portrait contract."""
