"""Versions of the contact contract."""
