"""Analysts' tools read the marts over plain SQL, see no person in them, and can do nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from services.kit.marts import ANALYST, SCHEMA
from services.kit.migrate import migrate
from tests.fixtures.postgres import Databases, Fresh, apart

SERVICES = ("ingest", "portrait", "recommend", "contact", "points")
PERSONAL = ("customer", "msisdn", "phone", "name_of", "staff_id", "caller", "token", "contact_id", "employee")


@pytest.fixture(scope="module")
def marts(databases: Databases) -> Fresh:
    """A database with every service's schema, and an analyst who may log in."""
    made = databases.empty("ingest")
    for service in SERVICES:
        url = make_url(made.url).set(username=f"lc_{service}").render_as_string(False)
        environ = made.environ | {"DATABASE_URL": url}
        for _ in range(2):  # again, as an upgrade does
            apart(lambda name=service, env=environ: asyncio.to_thread(migrate, name, env))  # type: ignore[misc]
    execute(made.admin_url, "DROP ROLE IF EXISTS anna")
    execute(made.admin_url, f"CREATE ROLE anna LOGIN PASSWORD 'pw' IN ROLE {ANALYST}")
    return made


def execute(url: str, statement: str) -> list[Any]:
    async def run() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    return apart(run)


def anna(marts: Fresh) -> str:
    return make_url(marts.admin_url).set(username="anna", password="pw").render_as_string(False)


def views(marts: Fresh) -> list[str]:
    rows = execute(marts.admin_url, f"SELECT viewname FROM pg_views WHERE schemaname = '{SCHEMA}' ORDER BY 1")
    return [row[0] for row in rows]


def test_an_analyst_reads_every_mart(marts: Fresh) -> None:
    """R001-146: ODBC and JDBC log in as a role of Postgres."""
    found = views(marts)
    assert {name.partition("_")[0] for name in found} == set(SERVICES)
    for name in found:
        execute(anna(marts), f"SELECT * FROM {SCHEMA}.{name} LIMIT 1")


def test_no_mart_has_a_column_of_a_person(marts: Fresh) -> None:
    """R002-101: customers are counted, never listed."""
    rows = execute(
        marts.admin_url,
        f"SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = '{SCHEMA}'",
    )
    assert rows
    counts = {"customers"}
    assert [tuple(row) for row in rows if row[1] not in counts and any(word in row[1] for word in PERSONAL)] == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM ingest.vault",
        "SELECT * FROM contact.contact",
        "SELECT * FROM points.points_entry",
        f"DELETE FROM {SCHEMA}.recommend_products",
        f"CREATE TABLE {SCHEMA}.mine (a int)",
        "CREATE SCHEMA mine",
        "SET ROLE lc_ingest",
    ],
)
def test_an_analyst_can_do_nothing_else(marts: Fresh, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        execute(anna(marts), statement)


def test_small_groups_are_left_out(marts: Fresh) -> None:
    execute(marts.admin_url, "INSERT INTO portrait.tag_count VALUES (1, 'AA01', 9), (1, 'AA02=high', 10)")
    execute(
        marts.admin_url,
        "INSERT INTO portrait.run (run_id, job_id, from_date, to_date, customers, signalling_rows, visits, sha256,"
        " catalogue_version, catalogue_digest, percentiles, publish_time)"
        " VALUES ('r', 'j', '2026-01-01', '2026-01-30', 100, 1, 1, '', '1', '', '{}', now())",
    )
    rows = execute(anna(marts), f"SELECT tag, value, customers FROM {SCHEMA}.portrait_tags")
    assert [tuple(row) for row in rows] == [("AA02", "high", 10)]
