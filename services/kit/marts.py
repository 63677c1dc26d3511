"""Views for analysts' tools: schema `marts`, read-only, without personal data, whatever ODBC, JDBC or Excel asks.

    services/<service>/migrations/marts.sql      CREATE VIEW marts.<service>_<what> AS …;   (separated by ";\\n")

A service's views are dropped before its schema is upgraded and made anew after it, so that no view ever stands in the
way of a migration. Whoever gets the role `lc_analyst` (GRANT lc_analyst TO anna) may read them and nothing else.
"""

from pathlib import Path

from services.kit.db import Driver

SCHEMA = "marts"
ANALYST = "lc_analyst"

_OURS = "SELECT viewname FROM pg_views WHERE schemaname = $1 AND starts_with(viewname, $2) ORDER BY viewname DESC"


async def drop(admin: Driver, service: str) -> None:
    """Drop the views of a service."""
    for view in await admin.fetch(_OURS, SCHEMA, f"{service}_"):
        await admin.execute(f'DROP VIEW {SCHEMA}."{view["viewname"]}"')


async def make(admin: Driver, service: str, folder: Path) -> None:
    """Make the views of a service, and let the analyst read them; `folder` holds marts.sql, or the service has none."""
    file = folder / "marts.sql"
    if not file.exists():
        return
    async with admin.transaction():
        await admin.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        await admin.execute(f"REVOKE ALL ON SCHEMA {SCHEMA} FROM PUBLIC")
        await admin.execute(f'SET LOCAL search_path = "{service}"')
        for statement in file.read_text().split(";\n"):
            if statement.strip():
                await admin.execute(statement)
        await admin.execute(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {ANALYST}")
        await admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO {ANALYST}")
