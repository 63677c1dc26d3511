"""Postgres: one pool per process, and two types of transaction, so that a signature says whether it writes.

    db = await Database.open(url, schema="points", application="points")
    async with db.read() as read:                       # READ ONLY
        row = await read.row(select(entry).where(entry.c.entry_id == entry_id))
    async with db.begin() as tx:
        await tx.execute(insert(entry), [{…}, {…}])
        await tx.commit()                               # is written; rollback is the default

Every connection has a statement, a lock and an idle-in-transaction timeout, and the schema as its search path.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import asyncpg
import structlog
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.base import Executable

_log = structlog.get_logger(__name__)

STATEMENT_SECONDS = 30.0
LOCK_SECONDS = 5.0
IDLE_IN_TRANSACTION_SECONDS = 60.0
PATIENCE_SECONDS = 5.0
"""How long a transaction waits for a Postgres that is not there (a restart, a failover) before it gives up."""

Params = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None

# What a lost or refused connection looks like before a transaction has begun; trying again then is always safe.
_GONE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)


class Read:
    """A READ ONLY transaction. `stmt` is a SQLAlchemy Core statement or text()."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def rows(self, stmt: Executable, params: Params = None) -> list[Row[Any]]:
        """All rows."""
        return list((await self._connection.execute(stmt, params)).all())

    async def row(self, stmt: Executable, params: Params = None) -> Row[Any] | None:
        """The first row, or None."""
        return (await self._connection.execute(stmt, params)).first()

    async def value(self, stmt: Executable, params: Params = None) -> Any:
        """The first column of the first row, or None."""
        return (await self._connection.execute(stmt, params)).scalar()


class Write(Read):
    """A transaction that may write, and that is rolled back unless commit() was called.

    It is a Read too: what a function may read, it may read in a transaction that writes.
    """

    def __init__(self, connection: AsyncConnection, driver: "asyncpg.Connection[Any]", schema: str) -> None:
        super().__init__(connection)
        self._driver = driver
        self._schema = schema
        self._committed = False

    async def execute(self, stmt: Executable, params: Params = None) -> int:
        """Run a statement (once, or once for each mapping of a list) and give the row count (-1 for a list)."""
        return int((await self._connection.execute(stmt, params)).rowcount)  # type: ignore[attr-defined]

    async def commit(self) -> None:
        """Make it so. Nothing can be done in the transaction afterwards."""
        self._committed = True
        await self._driver.execute("COMMIT")

    async def copy(self, table: str, columns: Sequence[str], records: Iterable[Sequence[Any]]) -> int:
        """COPY records into a table of the schema; gives the number of rows."""
        status = await self._driver.copy_records_to_table(
            table, columns=list(columns), records=records, schema_name=self._schema
        )
        return int(status.rpartition(" ")[2])

    @property
    def driver(self) -> "asyncpg.Connection[Any]":
        """The raw asyncpg connection inside this transaction: binary COPY, savepoints (driver.transaction())."""
        return self._driver
