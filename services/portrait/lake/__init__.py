"""Columnar files: the facts that a run reads, the tables that it publishes, and the one-pass query between them."""

from services.portrait.lake.facts import Base, FactsDamaged, read_base, read_signalling
from services.portrait.lake.files import Lake
from services.portrait.lake.results import ResultReader, write_bucket
from services.portrait.lake.scan import Scan

__all__ = [
    "Base",
    "FactsDamaged",
    "Lake",
    "ResultReader",
    "Scan",
    "read_base",
    "read_signalling",
    "write_bucket",
]
