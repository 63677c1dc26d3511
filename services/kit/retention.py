"""What the kit's tables forget: answers to old requests, old facts that everybody has followed, jobs long ended.

A request repeated after REQUEST_DAYS is a new one; a follower that was away for OUTBOX_DAYS has lost facts and must be
made anew from its owner's lists. Work is done in small bites, so that it never holds a lock that somebody waits for.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from sqlalchemy import text

from services.kit import telemetry
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.waiting import pause

REQUEST_DAYS = timedelta(days=14)
OUTBOX_DAYS = timedelta(days=400)
JOB_DAYS = timedelta(days=800)

_EVERY_SECONDS = 3600.0
_BITE = 5_000
_log = structlog.get_logger(__name__)
_forgotten = telemetry.counter("lifecircle.kit.forgotten", "{row}", "Rows of the kit's tables that were forgotten.")

_DELETE = {
    "request": "DELETE FROM request WHERE ctid = ANY(ARRAY("
    "SELECT ctid FROM request WHERE create_time < :before ORDER BY create_time LIMIT :bite))",
    "outbox": "DELETE FROM outbox WHERE (xid, id) IN (SELECT xid, id FROM outbox WHERE time < :before LIMIT :bite)",
    "job": "DELETE FROM job WHERE job_id IN (SELECT job_id FROM job WHERE end_time < :before"
    " AND state IN ('SUCCEEDED', 'FAILED', 'CANCELLED') ORDER BY create_time LIMIT :bite)",
}


def trim(
    db: Database, clock: Clock, *, outbox: timedelta | None = OUTBOX_DAYS
) -> Callable[[asyncio.Event], Awaitable[None]]:
    """Background work: forgets once an hour. `outbox` None keeps every fact (who follows admin begins at the first)."""
    keep = {"request": REQUEST_DAYS, "outbox": outbox, "job": JOB_DAYS}

    async def trim_kit_tables(stop: asyncio.Event) -> None:
        while not stop.is_set():
            for table, age in keep.items():
                if age is not None:
                    await _forget(db, table, clock() - age, stop)
            await pause(_EVERY_SECONDS, stop)

    return trim_kit_tables


async def _forget(db: Database, table: str, before: object, stop: asyncio.Event) -> None:
    total = 0
    while not stop.is_set():
        async with db.begin() as tx:
            gone = await tx.execute(text(_DELETE[table]), {"before": before, "bite": _BITE})
            await tx.commit()
        total += gone
        if gone < _BITE:
            break
    if total:
        _forgotten(total, table=table)
        _log.info("forgotten", table=table, rows=total)
