"""Columnar files: ingest's reference feeds, events and entries of replay, and the SQL that shadows the kernel."""

from services.points.lake.feeds import Damaged, Lake, to_instant

__all__ = ["Damaged", "Lake", "to_instant"]
