"""Migrations: each service its own schema and role, made once, and safe to make again and at the same time."""

import asyncio
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import TableClause
from sqlalchemy.engine import make_url

from services.kit import migrate, tables
from services.kit.config import ConfigProblems
from tests.fixtures.postgres import SAMPLE, Databases, Fresh, apart


def run(database: Fresh, statement: str, url: str = "") -> list[asyncpg.Record]:
    """A statement as the service's role."""

    async def execute() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url or database.url, server_settings={"search_path": database.service})
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    return apart(execute)


def neighbour(database: Fresh, service: str, password: str = "pw") -> Fresh:
    """Another service of the same database."""
    url = make_url(database.url).set(username=f"lc_{service}", password=password).render_as_string(False)
    return Fresh(service, url, database.admin_url)


def test_a_service_uses_its_own_rows_and_changes_nothing_else(database: Fresh) -> None:
    run(database, "INSERT INTO note VALUES (1, 'a')")
    run(database, "UPDATE note SET body = 'b'")
    assert [tuple(row) for row in run(database, "SELECT * FROM note")] == [(1, "b")]
    run(database, "INSERT INTO effect (name) VALUES ('x')")
    run(database, "DELETE FROM note")
    run(database, "CREATE TEMPORARY TABLE staging (LIKE note)")
    for statement in (
        "CREATE TABLE mine (a int)",
        "ALTER TABLE note ADD COLUMN c int",
        "DROP TABLE note",
        "TRUNCATE note",
        "CREATE TABLE public.mine (a int)",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "UPDATE alembic_version SET version_num = '0'",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            run(database, statement)


def test_the_role_of_one_service_can_neither_read_nor_write_anothers_schema(databases: Databases) -> None:
    one = databases.fresh("sample")
    two = neighbour(one, "other")
    migrate.migrate("other", two.environ, SAMPLE)
    run(two, "INSERT INTO note VALUES (1, 'a')")
    for statement in ("SELECT * FROM other.note", "INSERT INTO other.note VALUES (2, 'b')", "DELETE FROM other.note"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for schema other"):
            run(one, statement)
    assert run(one, "SELECT * FROM note") == []


def test_what_was_opened_to_everybody_is_closed_again(databases: Databases) -> None:
    database = databases.fresh("sample")
    database.admin("GRANT USAGE ON SCHEMA sample TO PUBLIC")
    migrate.migrate("sample", database.environ, SAMPLE)
    assert database.admin("SELECT has_schema_privilege('public', 'sample', 'USAGE')")[0][0] is False


def test_doing_it_again_changes_nothing(databases: Databases) -> None:
    database = databases.fresh("sample")
    run(database, "INSERT INTO note VALUES (1, 'a')")
    before = database.admin(CATALOGUE)
    migrate.migrate("sample", database.environ, SAMPLE)
    assert database.admin(CATALOGUE) == before
    assert [tuple(row) for row in run(database, "SELECT * FROM note")] == [(1, "a")]


CATALOGUE = """
SELECT relname, relkind, relacl::text, relowner FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
WHERE nspname = 'sample' ORDER BY relname
"""


def test_the_role_takes_the_password_that_the_url_names_now(databases: Databases) -> None:
    database = neighbour(databases.empty("sample"), "rotating", "first")
    migrate.migrate("rotating", database.environ, SAMPLE)
    later = neighbour(database, "rotating", "zweites Paßwort /@:%")
    migrate.migrate("rotating", later.environ, SAMPLE)
    assert run(later, "SELECT 1")[0][0] == 1
    with pytest.raises(asyncpg.InvalidPasswordError):
        run(database, "SELECT 1")


def test_migrations_of_many_services_at_once_do_not_clash(databases: Databases) -> None:
    """Two of each, as when two replicas of every service start together; and of two databases of one cluster."""
    first, second = databases.empty("sample"), databases.empty("sample")
    every = [neighbour(base, f"s{n}") for base in (first, second) for n in range(3)] * 2
    barrier = threading.Barrier(len(every))

    def start(database: Fresh) -> None:
        barrier.wait()
        migrate.migrate(database.service, database.environ, SAMPLE)

    with ThreadPoolExecutor(len(every)) as pool:
        list(pool.map(start, every))
    for database in every:
        assert run(database, "SELECT version_num FROM alembic_version")[0][0] == "0001"


def versions(folder: Path, **bodies: str) -> Path:
    """A copy of the sample's migrations with more of them."""
    shutil.copytree(SAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    last = "0001"
    for number, (name, body) in enumerate(bodies.items(), 2):
        text = (
            f"from alembic import op\nrevision = '{number:04}'\ndown_revision = '{last}'\n"
            f"def upgrade():\n    op.execute({body!r})\n"
        )
        (folder / "versions" / f"{number:04}_{name}.py").write_text(text)
        last = f"{number:04}"
    return folder


def test_a_chain_that_breaks_keeps_what_went_before_and_goes_on(databases: Databases, tmp_path: Path) -> None:
    database = databases.fresh("sample")
    broken = versions(tmp_path / "broken", good="CREATE TABLE good (a int)", bad="CREATE TABLE bad (a nonsense)")
    with pytest.raises(Exception, match="nonsense"):
        migrate.migrate("sample", database.environ, broken)
    assert run(database, "SELECT version_num FROM alembic_version")[0][0] == "0002"
    mended = versions(tmp_path / "mended", good="CREATE TABLE good (a int)", bad="CREATE TABLE bad (a int)")
    migrate.migrate("sample", database.environ, mended)
    assert run(database, "SELECT version_num FROM alembic_version")[0][0] == "0003"
    run(database, "INSERT INTO bad VALUES (1)")  # the role may use tables that came later


async def test_a_migration_gives_way_to_traffic_instead_of_blocking_it(databases: Databases, tmp_path: Path) -> None:
    database = databases.fresh("sample")
    folder = versions(tmp_path / "more", column="ALTER TABLE note ADD COLUMN c int")
    traffic = await asyncpg.connect(database.admin_url)
    async with traffic.transaction():
        await traffic.execute("SELECT * FROM sample.note")
        with pytest.raises(Exception, match="lock timeout"):
            await asyncio.to_thread(migrate.migrate, "sample", database.environ, folder)
    await traffic.close()


def test_a_new_migration_comes_after_the_last_one_with_the_law_in_it(databases: Databases, tmp_path: Path) -> None:
    folder = versions(tmp_path / "service")
    migrate.revise("sample", "widen the note", folder)
    written = folder / "versions" / "0002_widen_the_note.py"
    assert "expand, then contract" in written.read_text()
    written.write_text(written.read_text().replace("-- one statement of DDL", "ALTER TABLE note ADD COLUMN c int"))
    database = databases.fresh("sample")
    migrate.migrate("sample", database.environ, folder)
    run(database, "INSERT INTO note VALUES (1, 'a', 3)")


@pytest.mark.parametrize("table", [tables.request, tables.outbox, tables.consumer_cursor, tables.job], ids=str)
def test_what_the_code_sees_of_a_table_is_in_the_table(database: Fresh, table: TableClause) -> None:
    columns = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'sample' AND table_name = $1"
    assert {column.name for column in table.columns} <= {row[0] for row in database.admin(columns, table.name)}


def test_all_that_is_wrong_with_the_settings_is_said() -> None:
    with pytest.raises(ConfigProblems, match=r"(?s)^DATABASE_URL is missing.*ADMIN_DATABASE_URL is missing"):
        migrate.migrate("sample", {}, SAMPLE)


@pytest.mark.parametrize("url", ["postgresql://postgres:x@h/d", "postgresql://nobody@h/d", "postgresql://h/d"])
def test_a_url_without_a_role_of_the_service_is_refused(url: str) -> None:
    environ = {"DATABASE_URL": url, "ADMIN_DATABASE_URL": "postgresql://postgres:y@h/d"}
    with pytest.raises(ConfigProblems, match=r"^DATABASE_URL: "):
        migrate.migrate("sample", environ, SAMPLE)
