"""Columnar files: the facts that a run reads and the tables that it publishes."""

from services.portrait.lake.facts import Base, Beside, Damaged, read_base
from services.portrait.lake.files import Lake
from services.portrait.lake.results import ResultReader, write_bucket

__all__ = [
    "Base",
    "Beside",
    "Damaged",
    "Lake",
    "ResultReader",
    "read_base",
    "write_bucket",
]
