"""Postgres: one pool per process, and two types of transaction, so that a signature says whether it writes.

    db = await Database.open(url, schema="points", application="points")
    async with db.read() as read:                       # READ ONLY
        row = await read.row(select(entry).where(entry.c.entry_id == entry_id))
    async with db.begin() as tx:
        await tx.execute(insert(entry), [{…}, {…}])
        await tx.commit()                               # is written; rollback is the default

Every connection has a statement, a lock and an idle-in-transaction timeout, and the schema as its search path.
In an RPC of a limited caller every transaction sees the rows of his domain only (domains.py).
"""

import asyncio
import contextlib
import time
import typing
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import asyncpg
import structlog
from asyncpg.transaction import Transaction
from sqlalchemy import CursorResult, Row, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.sql.base import Executable

from services.kit import domains
from services.kit.waiting import backoff

_log = structlog.get_logger(__name__)

STATEMENT_SECONDS = 30.0
LOCK_SECONDS = 5.0
IDLE_IN_TRANSACTION_SECONDS = 60.0
PATIENCE_SECONDS = 5.0
"""How long a transaction waits for a Postgres that is not there (a restart, a failover) before it gives up."""

Driver: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Params = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None

# What a lost or refused connection looks like before a transaction has begun; trying again then is always safe.
_GONE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InternalClientError,  # what asyncpg says of a connection that was cut while it was idle
)


class Unreachable(ConnectionError):
    """No transaction could begin within the patience: Postgres is away, or every connection is taken."""


class Read:
    """A READ ONLY transaction. `stmt` is a SQLAlchemy Core statement or text()."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def rows(self, stmt: Executable, params: Params = None) -> list[Row[Any]]:
        """All rows."""
        return list((await self._run(stmt, params)).all())

    async def row(self, stmt: Executable, params: Params = None) -> Row[Any] | None:
        """The first row, or None."""
        return (await self._run(stmt, params)).first()

    async def value(self, stmt: Executable, params: Params = None) -> Any:
        """The first column of the first row, or None."""
        return (await self._run(stmt, params)).scalar()

    async def _run(self, stmt: Executable, params: Params) -> CursorResult[Any]:
        return await self._connection.execute(stmt, params)


class Write(Read):
    """A transaction that may write, and that is rolled back unless commit() was called.

    It is a Read too: what a function may read, it may read in a transaction that writes.
    """

    def __init__(self, connection: AsyncConnection, driver: Driver, transaction: Transaction, schema: str) -> None:
        super().__init__(connection)
        self._driver = driver
        self._transaction = transaction
        self._schema = schema
        self._committed = False
        self.acts: set[str] = set()
        """The actions that the operation log was told of in it (kit/operations.py)."""

    async def execute(self, stmt: Executable, params: Params = None) -> int:
        """Run a statement (once, or once for each mapping of a list) and give the row count (-1 for a list)."""
        return (await self._run(stmt, params)).rowcount

    async def commit(self) -> None:
        """Make it so. Nothing more can be done in this transaction."""
        assert not self._committed, "the transaction is committed already"
        self._committed = True
        await self._transaction.commit()

    async def copy(self, table: str, columns: Sequence[str], records: Iterable[Sequence[Any]]) -> int:
        """COPY records into a table of the schema; gives the number of rows."""
        status = await self.driver.copy_records_to_table(
            table, columns=list(columns), records=records, schema_name=self._schema
        )
        return int(status.rpartition(" ")[2])

    @property
    def driver(self) -> Driver:
        """The raw asyncpg connection inside this transaction: binary COPY, savepoints (driver.transaction())."""
        assert not self._committed, "the transaction is committed already"
        return self._driver

    async def _run(self, stmt: Executable, params: Params) -> CursorResult[Any]:
        assert not self._committed, "the transaction is committed already"
        return await super()._run(stmt, params)


class Database:
    """The connections of one process to one schema."""

    def __init__(
        self, engine: AsyncEngine, connect: Callable[[], Awaitable[Driver]], schema: str, patience: float
    ) -> None:
        self._engine = engine
        self._connect = connect
        self._patience = patience
        self.schema = schema

    @classmethod
    async def open(
        cls, url: str, *, schema: str, application: str, size: int = 8, patience: float = PATIENCE_SECONDS
    ) -> "Database":
        """Pool of at most `size` connections. `url` is postgresql:// or postgresql+asyncpg://; none is opened yet.

        `patience` is for how many seconds a transaction waits for a Postgres that is not there.
        """
        dsn = driver_url(url)

        async def connect(*_: Any, **__: Any) -> Driver:
            return await asyncpg.connect(
                dsn,
                timeout=patience,
                server_settings={
                    "application_name": application,
                    "search_path": schema,
                    "statement_timeout": f"{STATEMENT_SECONDS * 1000:.0f}",
                    "lock_timeout": f"{LOCK_SECONDS * 1000:.0f}",
                    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_SECONDS * 1000:.0f}",
                },
            )

        # AUTOCOMMIT: SQLAlchemy begins nothing by itself, the transactions are those of this file.
        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connect,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,  # an error's text goes to the log, and what was bound does not
            pool_size=size,
            max_overflow=0,
            pool_timeout=10,
            pool_use_lifo=True,
        )
        return cls(engine, connect, schema, patience)

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[Read]:
        """A READ ONLY transaction."""
        async with self._transaction(readonly=True) as (connection, _, _):
            yield Read(connection)

    @contextlib.asynccontextmanager
    async def begin(self, *, statement_seconds: float | None = None) -> AsyncIterator[Write]:
        """A transaction that may write; rolled back unless committed. Batch work may raise the statement timeout."""
        async with self._transaction(readonly=False) as (connection, driver, transaction):
            if statement_seconds is not None:
                await connection.execute(text(f"SET LOCAL statement_timeout = {statement_seconds * 1000:.0f}"))
            yield Write(connection, driver, transaction, self.schema)

    async def dedicated(self) -> Driver:
        """A connection of its own, for prepared hot reads or LISTEN; the caller closes it, and opens another when lost.

        Fresh from asyncpg: outside of the pool, each statement its own transaction, jsonb as text.
        """
        return await self._connect()

    async def ping(self) -> None:
        """Raise unless Postgres answers."""
        async with self.read() as read:
            await read.value(text("SELECT 1"))

    async def close(self) -> None:
        """Close the pool."""
        await self._engine.dispose()

    @contextlib.asynccontextmanager
    async def _transaction(self, *, readonly: bool) -> AsyncIterator[tuple[AsyncConnection, Driver, Transaction]]:
        connection, driver, transaction = await self._start(readonly)
        try:
            yield connection, driver, transaction
        finally:
            try:
                # Not committed means rolled back: the code failed, was cancelled, or did not say commit.
                if not driver.is_closed() and driver.is_in_transaction():
                    await transaction.rollback()
            except Exception as error:  # Postgres rolls back by itself what is on a lost connection
                _log.warning("connection_lost", error=type(error).__name__)
            finally:
                # Lost, or cancelled once more in mid rollback: nobody may find a transaction open in the pool.
                if driver.is_closed() or driver.is_in_transaction():
                    await connection.invalidate()
                await connection.close()

    async def _start(self, readonly: bool) -> tuple[AsyncConnection, Driver, Transaction]:
        """Begin, on a connection that is alive: until BEGIN was answered nothing has happened, so try again."""
        give_up = time.monotonic() + self._patience
        failures = 0
        while True:
            connection = None
            try:
                connection = await self._engine.connect()
                driver = typing.cast(Driver, (await connection.get_raw_connection()).driver_connection)
                if driver.is_in_transaction():  # a task that was cancelled twice may have left it so: take another
                    raise asyncpg.InternalClientError("a transaction was left open")
                transaction = driver.transaction(readonly=readonly)
                await transaction.start()
                await _limit(driver, self.schema)
                return connection, driver, transaction
            except PoolTimeout as error:
                raise Unreachable("every connection to Postgres is taken") from error
            except BaseException as error:
                if connection is not None:
                    await connection.invalidate()
                    await connection.close()
                if not is_gone(error):
                    raise
                if time.monotonic() > give_up:
                    raise Unreachable(f"Postgres did not answer for {self._patience:g} s") from error
                _log.warning("postgres_gone", error=type(error).__name__)
            failures += 1
            await asyncio.sleep(backoff(failures, first=0.02, most=0.5))


async def _limit(driver: Driver, schema: str) -> None:
    """Take on the scoped role when a limited caller is in hand: from here on row-level security holds."""
    domain = domains.current()
    if domain is not None:
        await driver.fetchval(_SCOPE, scoped_role(schema), sorted(domain))


_SCOPE = (
    f"SELECT set_config('role', $1, true) || set_config('{domains.SETTING}', CAST(CAST($2 AS text[]) AS text), true)"
)


def scoped_role(schema: str) -> str:
    """The role under which a service works for a limited caller; migrate.py makes it."""
    return f"lc_{schema}_scoped"


def driver_url(url: str) -> str:
    """The URL as asyncpg takes it: postgresql+asyncpg:// and postgres:// become postgresql://."""
    return make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql").render_as_string(False)


def is_gone(error: BaseException) -> bool:
    """Whether the connection is lost or refused; SQLAlchemy wraps what asyncpg raises."""
    cause = getattr(error, "orig", None)
    cause = getattr(cause, "__cause__", None) or cause or error
    if isinstance(cause, asyncpg.InterfaceError):
        return "closed" in str(cause)
    return isinstance(cause, _GONE)


def is_unavailable(error: BaseException) -> bool:
    """Whether a transaction failed since Postgres is not there, so that the same call may be sent again.

    An OSError that a transaction did not raise itself may be a file or a peer: that is somebody else's matter.
    """
    return isinstance(error, Unreachable) or (not isinstance(error, OSError) and is_gone(error))
