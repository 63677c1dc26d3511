"""The service's own log of facts: written in the transaction of the effect, followed by Watch RPCs (kit/log.py)."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.types import Text

from services.kit import log, telemetry
from services.kit.db import Database, Read, Write
from services.kit.tables import outbox as table

_BATCH = 500


@dataclass(frozen=True)
class Event:
    """One fact. `cursor` is the position just after it; `traceparent` is the span that wrote it."""

    cursor: str
    kind: str
    key: str
    payload: Mapping[str, Any]
    time: datetime
    traceparent: str


@dataclass(frozen=True)
class Checkpoint:
    """Nothing more up to `cursor`: the follower may keep it, so that a quiet stream resumes where it is."""

    cursor: str


async def put(tx: Write, kind: str, key: str, payload: Mapping[str, Any]) -> None:
    """Append a fact (JSON payload) in the transaction of its effect; the current trace goes with it."""
    await tx.execute(
        insert(table).values(kind=kind, key=key, payload=dict(payload), traceparent=telemetry.traceparent())
    )


async def follow(
    db: Database,
    *,
    cursor: str,
    kinds: Collection[str] | None,
    stop: asyncio.Event | None = None,
    poll: float = 0.2,
    checkpoint_every: float = 5.0,
) -> AsyncIterator[Event | Checkpoint]:
    """Events after `cursor` ("" for the beginning), of `kinds` if given, for ever or until `stop`.

    After `checkpoint_every` seconds without one comes a Checkpoint. Looks into the table every `poll` seconds when
    there is nothing new. Raises cursor_invalid.
    """
    wanted = sorted(kinds or ())

    async def fetch(read: Read, after: log.Position) -> log.Page[Row[Any]]:
        found = await read.rows(_NEXT, {"xid": str(after[0]), "id": after[1], "kinds": wanted, "batch": _BATCH})
        facts = [((int(row.xid), row.id), row) for row in found if row.id is not None]
        full = len(facts) == _BATCH
        reached = facts[-1][0] if full else (int(found[0].horizon), 0)
        return log.Page(facts, reached, full, int(found[0].head))

    async for seen in log.follow(
        db,
        stream=db.schema,
        cursor=cursor,
        fetch=fetch,
        stop=stop or asyncio.Event(),
        poll=poll,
        checkpoint_every=checkpoint_every,
    ):
        for row in seen.facts:
            yield Event(seen.cursor, row.kind, row.key, row.payload, row.time, row.traceparent)
        if not seen.facts:
            yield Checkpoint(seen.cursor)


_NEXT = (
    text("""
SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS horizon, pg_snapshot_xmax(pg_current_snapshot())::text AS head,
       fact.xid::text AS xid, fact.id, fact.kind, fact.key, fact.payload, fact.time, fact.traceparent
FROM (VALUES (1)) AS always
LEFT JOIN LATERAL (
    SELECT * FROM outbox
    WHERE (xid, id) > (CAST(CAST(:xid AS text) AS xid8), :id)
      AND xid < pg_snapshot_xmin(pg_current_snapshot())
      AND (kind = ANY(:kinds) OR cardinality(:kinds) = 0)
    ORDER BY xid, id
    LIMIT :batch
) AS fact ON true
ORDER BY fact.xid, fact.id
""")
    .bindparams(bindparam("kinds", type_=ARRAY(Text)))
    .columns(payload=JSONB)
)
