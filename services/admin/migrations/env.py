"""Alembic's entry; the kit runs it."""

from services.kit import migrate

migrate.run_env()
