"""A service's schema: its role, its grants, its tables by alembic."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def migrate(service: str, environ: Mapping[str, str], folder: Path | None = None) -> None:
    """Make role, schema and grants, then upgrade to head; doing it again changes nothing."""
    raise NotImplementedError


def run_env() -> None:
    """The whole of a service's migrations/env.py."""
    raise NotImplementedError


def kit_tables(op: Any) -> None:
    """The kit's tables (request, outbox, consumer_cursor, job): called by a service's first migration."""
    raise NotImplementedError
