"""Versions of the ingest contract."""
