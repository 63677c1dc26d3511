"""A service's schema: its role, its grants, and its tables by alembic.

The administrator owns the schema; the service's role may use and change rows, and nothing else, and nowhere else. It
passes by row-level security, so that its own work may COPY; for a limited caller it takes on lc_<service>_scoped, which
does not (domains.py).
Doing it again changes nothing, except that the role takes the password that DATABASE_URL names now.

    services/<service>/migrations/env.py                   from services.kit import migrate
                                                           migrate.run_env()
    services/<service>/migrations/versions/0001_first.py   revision = "0001"; down_revision = None
                                                           def upgrade() -> None:
                                                               kit_tables(op)
                                                               op.execute("CREATE TABLE …")
"""

import asyncio
import base64
import hashlib
import hmac
import secrets
import threading
import time
import unicodedata
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import asyncpg
import structlog
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from services.kit import config, marts, tables
from services.kit.db import Driver, driver_url, scoped_role
from services.kit.domains import SETTING

_log = structlog.get_logger(__name__)

# Short, so that a migration gives way to the traffic it would block, and fails instead of queueing all of it up.
_TIMEOUTS = {"lock_timeout": "4s", "statement_timeout": "120s"}
_TURN_SECONDS = 300
_alembic_at_work = threading.Lock()  # alembic keeps what it is doing in a global of its own
_ATTEMPTS = 10


@dataclass(frozen=True)
class Settings:
    """What `migrate` reads from the environment."""

    database_url: str = field(repr=False, metadata={"help": "names the service's role and password", "secret": True})
    admin_database_url: str = field(repr=False, metadata={"help": "who may make roles and schemas", "secret": True})


def migrate(service: str, environ: Mapping[str, str], folder: Path | None = None) -> None:
    """Make role, schema and grants, then upgrade the schema to head.

    Reads ADMIN_DATABASE_URL and DATABASE_URL; `folder` is services/<service>/migrations by default. Raises
    ConfigProblems, and whatever Postgres says. Starts an event loop of its own: call it in a thread from a running one.
    """
    settings = config.read(Settings, environ)
    asyncio.run(_migrate(service, settings, folder or _folder(service)))


def revise(service: str, message: str, folder: Path | None = None) -> None:
    """Write a new, empty migration after the last one, from script.py.mako."""
    folder = folder or _folder(service)
    number = len(list((folder / "versions").glob("[0-9]*.py"))) + 1
    alembic.command.revision(_alembic(folder), message, rev_id=f"{number:04d}")


def run_env() -> None:
    """The whole of a service's migrations/env.py."""
    from alembic import context  # a proxy that lives only while alembic runs env.py

    connection: Connection = context.config.attributes["connection"]
    schema: str = context.config.attributes["schema"]
    # One transaction a migration: a lock is held no longer than its own DDL, and a chain goes on where it broke.
    context.configure(connection=connection, version_table_schema=schema, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


def kit_tables(op: Any) -> None:
    """Create request, outbox, consumer_cursor and job; a service's first migration calls it with alembic's `op`."""
    for statement in tables.DDL_1.split(";\n"):
        if statement.strip():
            op.execute(statement)


async def _migrate(service: str, settings: Settings, folder: Path) -> None:
    url = make_url(settings.database_url)
    role, password = url.username or "", str(url.password or "")
    if not role or not password:
        raise config.ConfigProblems(["DATABASE_URL: the role and its password must stand in it"])
    if role == make_url(settings.admin_database_url).username:
        raise config.ConfigProblems(["DATABASE_URL: it must name the service's own role, not the administrator"])
    async with _turn(settings.admin_database_url) as admin:
        await _role(admin, role, f"LOGIN BYPASSRLS PASSWORD '{_scram(password)}'")
        await _role(admin, scoped_role(service), "NOLOGIN NOBYPASSRLS")
        await admin.execute(f"GRANT {_quoted(scoped_role(service))} TO {_quoted(role)}")
        for name in (role, scoped_role(service)):
            await _schema(admin, service, name)
        await marts.drop(admin, service)
        await _upgrade(settings.admin_database_url, service, folder)
        await _later_tables(admin, service)
        await _protect(admin, service)
        await _role(admin, marts.ANALYST, "NOLOGIN NOBYPASSRLS")
        await marts.make(admin, service, folder)
        for name in (role, scoped_role(service)):
            await admin.execute(
                f"REVOKE INSERT, UPDATE, DELETE ON {_quoted(service)}.alembic_version FROM {_quoted(name)}"
            )
    _log.info("migrated", service=service, role=role)


@asynccontextmanager
async def _turn(url: str) -> AsyncIterator[Driver]:
    """The administrator's connection, once it is our turn: migrations of one database run one after the other."""
    admin: Driver = await asyncpg.connect(driver_url(url), server_settings=_TIMEOUTS)
    try:
        give_up = time.monotonic() + _TURN_SECONDS
        while not await admin.fetchval("SELECT pg_try_advisory_lock(hashtext('lifecircle.migrate'))"):
            if time.monotonic() > give_up:
                raise TimeoutError("another migration has been running for too long")
            await asyncio.sleep(0.1)
        yield admin
    finally:
        await admin.close()  # and with it goes the lock


async def _role(admin: Driver, role: str, options: str) -> None:
    """A role with no power but `options`. Roles are the cluster's, so others may do the same now."""
    for attempt in range(_ATTEMPTS):
        known = await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
        try:
            await admin.execute(f"{'ALTER' if known else 'CREATE'} ROLE {_quoted(role)} {options}")
            return
        except (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError, asyncpg.InternalServerError):
            if attempt == _ATTEMPTS - 1:
                raise
            await asyncio.sleep(0.05 * (attempt + 1))


async def _schema(admin: Driver, schema: str, role: str) -> None:
    name, who = _quoted(schema), _quoted(role)
    rows, numbers = "SELECT, INSERT, UPDATE, DELETE", "USAGE, SELECT, UPDATE"
    database = _quoted(await admin.fetchval("SELECT current_database()"))
    for statement in (
        f"CREATE SCHEMA IF NOT EXISTS {name}",
        f"REVOKE ALL ON SCHEMA {name} FROM PUBLIC",
        f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {who}",
        f"GRANT USAGE ON SCHEMA {name} TO {who}",
        f"GRANT {rows} ON ALL TABLES IN SCHEMA {name} TO {who}",
        f"GRANT {numbers} ON ALL SEQUENCES IN SCHEMA {name} TO {who}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {name} GRANT {rows} ON TABLES TO {who}",
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA {name} GRANT {numbers} ON SEQUENCES TO {who}",
    ):
        await admin.execute(statement)


async def _later_tables(admin: Driver, schema: str) -> None:
    """The kit's tables of after the first migration."""
    async with admin.transaction():
        await admin.execute(f"SET LOCAL search_path = {_quoted(schema)}")
        await admin.execute(tables.DDL_2)


async def _protect(admin: Driver, schema: str) -> None:
    """Row-level security on every table with an org_id: under the scoped role it shows the rows of the domain.

    The setting is read once a statement, not once a row; where it is not set no row is seen.
    """
    tables = await admin.fetch(_WITH_ORG, schema)
    for table in tables:
        name = f"{_quoted(schema)}.{_quoted(table['relname'])}"
        for statement in (
            f"DROP POLICY IF EXISTS domain ON {name}",
            f"CREATE POLICY domain ON {name} USING (org_id = ANY ({_DOMAIN}))",
            f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
        ):
            await admin.execute(statement)


_DOMAIN = f"(SELECT CAST(current_setting('{SETTING}', true) AS text[]))::text[]"
_WITH_ORG = """
SELECT relname FROM pg_class
JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'org_id' AND NOT attisdropped
WHERE relnamespace = CAST(quote_ident($1) AS regnamespace) AND relkind IN ('r', 'p') AND NOT relrowsecurity
ORDER BY relname
"""


async def _upgrade(url: str, schema: str, folder: Path) -> None:
    engine = create_async_engine(
        make_url(driver_url(url)).set(drivername="postgresql+asyncpg"),
        poolclass=NullPool,
        connect_args={"server_settings": {**_TIMEOUTS, "search_path": schema, "application_name": f"{schema} migrate"}},
    )
    settings = _alembic(folder)

    def upgrade(connection: Connection) -> None:
        settings.attributes.update(connection=connection, schema=schema)
        with _alembic_at_work:
            alembic.command.upgrade(settings, "head")

    async with engine.connect() as connection:
        await connection.run_sync(upgrade)
        await connection.commit()
    await engine.dispose()


def _alembic(folder: Path) -> alembic.config.Config:
    settings = alembic.config.Config()
    settings.set_main_option("script_location", str(folder).replace("%", "%%"))
    settings.set_main_option("path_separator", "os")
    settings.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return settings


def _folder(service: str) -> Path:
    package = import_module(f"services.{service}")
    return Path(package.__path__[0]) / "migrations"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _scram(password: str) -> str:
    """SCRAM-SHA-256 verifier (RFC 5803), as Postgres stores it: the password itself is never sent nor logged."""
    salt, iterations = secrets.token_bytes(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", unicodedata.normalize("NFKC", password).encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    text = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{text[0]}${text[1]}:{text[2]}"
