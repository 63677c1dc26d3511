"""Columnar files: ingest's reference feeds, events and entries of replay, and the SQL that shadows the kernel."""

from services.points.lake.feeds import FactsDamaged, Lake, to_instant

__all__ = ["FactsDamaged", "Lake", "to_instant"]
