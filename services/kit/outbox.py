"""The service's own log of facts: written in the transaction of the effect, followed by Watch RPCs.

The order is (xid, id): the transaction that wrote the fact, then the sequence within. Only facts of transactions below
the oldest one still open are given out, so that what commits late never lands behind a cursor that has already passed.
Price: a transaction that stays open holds back every follower; idle_in_transaction_session_timeout bounds that.
"""

import asyncio
import base64
import re
import time
import zlib
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.types import Text

from services.kit import telemetry
from services.kit.db import Database, Write
from services.kit.errors import cursor_invalid
from services.kit.tables import outbox as table
from services.kit.waiting import pause

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
    stop = stop or asyncio.Event()
    stream = _stream(db)
    position = _decode(cursor, stream)
    spoken = time.monotonic()
    while not stop.is_set():
        async with db.read() as read:
            found = await read.rows(
                _NEXT, {"xid": str(position[0]), "id": position[1], "kinds": sorted(kinds or ()), "batch": _BATCH}
            )
        if position[0] > int(found[0].head):
            raise cursor_invalid(cursor)  # a position that this log has not reached: it was restored from an older copy
        rows = [row for row in found if row.id is not None]
        for row in rows:
            position = (int(row.xid), row.id)
            yield Event(_encode(position, stream), row.kind, row.key, row.payload, row.time, row.traceparent)
            spoken = time.monotonic()
        if len(rows) == _BATCH:
            continue
        position = max(position, (int(found[0].horizon), 0))
        if time.monotonic() - spoken >= checkpoint_every:
            yield Checkpoint(_encode(position, stream))
            spoken = time.monotonic()
        await pause(poll, stop)


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


def _stream(db: Database) -> int:
    return zlib.crc32(db.schema.encode())


def _encode(position: tuple[int, int], stream: int) -> str:
    """Opaque text; it names its stream, so that a cursor of another service is refused and not misread."""
    plain = f"{stream:08x}.{position[0]:x}.{position[1]:x}"
    return base64.urlsafe_b64encode(plain.encode()).rstrip(b"=").decode()


def _decode(cursor: str, stream: int) -> tuple[int, int]:
    if not cursor:
        return (0, 0)
    try:
        plain = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except ValueError as error:
        raise cursor_invalid(cursor) from error
    match = re.fullmatch(r"([0-9a-f]{8})\.([0-9a-f]{1,15})\.([0-9a-f]{1,15})", plain)
    if match is None or int(match[1], 16) != stream:
        raise cursor_invalid(cursor)
    return (int(match[2], 16), int(match[3], 16))
