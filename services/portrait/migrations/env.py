"""Alembic's entry: the kit does it all."""

from services.kit import migrate

migrate.run_env()
