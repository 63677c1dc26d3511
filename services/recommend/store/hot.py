"""The hot read: what is known of many customers at once, in one round trip over a connection of its own.

The statement is prepared, and the caller's organisation is compared in the open (no row-level security here), so that
callers of several organisations share a round trip. A connection that was lost is opened again; the read that noticed
goes through the pool, which waits for a Postgres that is away.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy import text

from services.kit import domains
from services.kit.db import Database, Driver
from services.recommend.domain.customer import Known

_log = structlog.get_logger(__name__)

_OWNED, _GONE, _PROFILE = 0, 1, 2
_READ = """
    SELECT 0 AS kind, customer_key, product_id AS name, owned, extract(epoch FROM time)::float8 AS at,
        '' AS org_id, ''::bytea AS features
    FROM ownership WHERE customer_key = ANY($1::bigint[])
    UNION ALL SELECT 1, customer_key, '', true, 0, '', '' FROM gone WHERE customer_key = ANY($1::bigint[])
    UNION ALL SELECT 2, p.customer_key, p.run_id, true, 0, p.org_id, p.features
    FROM run JOIN profile p ON p.run_id = run.run_id WHERE run.serves AND p.customer_key = ANY($2::bigint[])
"""
_POOLED = text(_READ.replace("$1::bigint[]", "CAST(:keys AS bigint[])")
    .replace("$2::bigint[]", "CAST(:profiles AS bigint[])").replace("::", " :: ").replace(" :: float8", "")
    .replace("'' :: bytea", "CAST('' AS bytea)"))  # fmt: skip


class Hot:
    """Reads customers."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._idle: list[tuple[Driver, PreparedStatement[Any]]] = []

    async def known(self, keys: Sequence[int], profiles: bool) -> dict[int, Known]:
        """Each with what he owns and cancelled; with `profiles` also his features in the run that serves.

        Who is gone is left out; with `profiles` who has none is too.
        """
        rows = await self._rows(keys, keys if profiles else [])
        return _told(keys, rows, profiles)

    async def _rows(self, keys: Sequence[int], profiles: Sequence[int]) -> Iterable[Any]:
        connection = None
        try:
            connection, statement = self._idle.pop() if self._idle else await self._connected()
            rows = await statement.fetch(list(keys), list(profiles))
        except Exception as error:
            _log.warning("hot_read_failed", error=type(error).__name__)
            if connection is not None:
                connection.terminate()
            with domains.whole():
                async with self._db.read() as read:
                    told = {"keys": list(keys), "profiles": list(profiles)}
                    return [tuple(row) for row in await read.rows(_POOLED, told)]
        self._idle.append((connection, statement))
        return rows

    async def _connected(self) -> tuple[Driver, "PreparedStatement[Any]"]:
        connection = await self._db.dedicated()
        return connection, await connection.prepare(_READ)

    async def close(self) -> None:
        """Close the connections."""
        for connection, _ in self._idle:
            await connection.close()
        self._idle.clear()


def _told(keys: Sequence[int], rows: Iterable[Any], profiles: bool) -> dict[int, Known]:
    owned: dict[int, list[str]] = {key: [] for key in keys}
    cancelled: dict[int, dict[str, float]] = {}
    found: dict[int, tuple[str, str, bytes]] = {}
    for kind, key, name, owns, at, org_id, features in rows:
        if kind == _GONE:
            owned.pop(key, None)
        elif kind == _PROFILE:
            found[key] = name, org_id, features
        elif key in owned:
            if owns:
                owned[key].append(name)
            else:
                cancelled.setdefault(key, {})[name] = float(at)
    blank = ("", "", b"")
    return {
        key: Known(*found.get(key, blank), tuple(sorted(mine)), cancelled.get(key, {}))
        for key, mine in owned.items()
        if key in found or not profiles
    }
