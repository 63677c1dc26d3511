"""The event log as its followers are told it: in the order of the transactions that wrote it, what they want of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Row, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Integer, Text

from services.ingest.domain.event import Event
from services.ingest.store.recent import Logged, Recent
from services.kit.db import Read
from services.kit.log import Page, Position

_LOOK_AT = 1000
_LOOK_AT_FILTERED = 5000


@dataclass(frozen=True)
class Wanted:
    """Which events a follower wants; what is empty keeps all. `buckets` are of customer_key modulo `bucket_count`."""

    prefixes: Sequence[str] = ()
    sources: Sequence[str] = ()
    org_prefixes: Sequence[str] = ()
    bucket_count: int = 0
    buckets: Sequence[int] = ()


async def after(read: Read, place: Position, wanted: Wanted, recent: Recent) -> Page[Logged]:
    """The next events after a place, those below every open transaction; what this process has just written is only
    asked for by its place."""
    if recent.may_hold(place[0]):
        page = await _just_written(read, place, wanted, recent)
        if page is not None:
            return page
    size = _LOOK_AT if wanted == Wanted() else _LOOK_AT_FILTERED
    rows = await read.rows(_EVENTS, _asked(place, wanted, size))
    facts = [
        ((int(row.xid), row.event_no), Logged(_event(row), row.traceparent)) for row in rows if row.event_no is not None
    ]
    return _page(rows[0], facts, size)


async def _just_written(read: Read, place: Position, wanted: Wanted, recent: Recent) -> Page[Logged] | None:
    """The page when all of it is at hand; None else."""
    rows = await read.rows(_PLACES, _asked(place, wanted, _LOOK_AT_FILTERED))
    facts: list[tuple[Position, Logged]] = []
    for row in rows:
        if row.xid is not None:
            found = recent.of(row.arrival_no, row.lines)
            if found is None:
                recent.missed()
                return None
            xid = int(row.xid)
            facts += zip([(xid, number) for number in row.numbers], found, strict=True)
    return _page(rows[0], facts, _LOOK_AT_FILTERED)


def _asked(place: Position, wanted: Wanted, size: int) -> dict[str, Any]:
    return {
        "xid": str(place[0]),
        "no": place[1],
        "size": size,
        "prefixes": list(wanted.prefixes),
        "sources": list(wanted.sources),
        "orgs": list(wanted.org_prefixes),
        "buckets": list(wanted.buckets),
        "bucket_count": wanted.bucket_count,
    }


def _page(row: Row[Any], facts: Sequence[tuple[Position, Logged]], size: int) -> Page[Logged]:
    full = row.looked_at == size
    reached = (int(row.last_xid), row.last_no) if full else (int(row.horizon), 0)
    return Page(facts, reached, full, int(row.head))


_WANTED: tuple[BindParameter[Any], ...] = (
    *(bindparam(name, type_=ARRAY(Text)) for name in ("prefixes", "sources", "orgs")),
    bindparam("buckets", type_=ARRAY(Integer)),
    bindparam("bucket_count", type_=Integer),
)


def _found(columns: str) -> str:
    """Looks at so many events in one go at most, so that a follower who wants few of many is never long in coming
    back."""
    return f"""
WITH seen AS MATERIALIZED (
    SELECT {columns} FROM event
    WHERE (xid, event_no) > (CAST(CAST(:xid AS text) AS xid8), :no) AND xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY xid, event_no
    LIMIT :size
), last AS (
    SELECT xid AS last_xid, event_no AS last_no FROM seen ORDER BY xid DESC, event_no DESC LIMIT 1
), found AS (
    SELECT * FROM seen
    WHERE (cardinality(:prefixes) = 0 OR EXISTS (SELECT FROM unnest(:prefixes) AS each WHERE starts_with(type, each)))
      AND (cardinality(:sources) = 0 OR source = ANY(:sources))
      AND (cardinality(:orgs) = 0 OR EXISTS (SELECT FROM unnest(:orgs) AS prefix WHERE starts_with(org_id, prefix)))
      AND (:bucket_count = 0 OR customer_key % greatest(:bucket_count, 1) = ANY(:buckets))
)
SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS horizon, pg_snapshot_xmax(pg_current_snapshot())::text AS head,
       (SELECT count(*) FROM seen) AS looked_at, last_xid::text, last_no, found.xid::text AS xid,"""


_EVENTS = text(f"""{_found("*")}
       event_no, source, source_event_id, type, customer_key, occur_time, receive_time,
       coalesce(arrival.batch_id || '-' || found.line, found.event_id) AS event_id,
       CASE WHEN said = '' THEN attributes::text ELSE said END AS attributes,
       coalesce(arrival.delivery_id, found.delivery_id) AS delivery_id,
       CASE WHEN arrival.delivery_id = '' THEN 0 ELSE line END AS line,
       coalesce(arrival.traceparent, found.traceparent) AS traceparent
FROM (VALUES (1)) AS always LEFT JOIN last ON true LEFT JOIN found ON true
    LEFT JOIN event_arrival AS arrival USING (arrival_no)
ORDER BY found.xid, event_no
""").bindparams(*_WANTED)

_PLACES = text(f"""{_found("xid, event_no, arrival_no, line, type, source, org_id, customer_key")}
       arrival_no, array_agg(event_no ORDER BY event_no) AS numbers, array_agg(line ORDER BY event_no) AS lines
FROM (VALUES (1)) AS always LEFT JOIN last ON true LEFT JOIN found ON true
GROUP BY last_xid, last_no, found.xid, arrival_no
ORDER BY found.xid, min(event_no)
""").bindparams(*_WANTED)

_EVENT = slice(7, 17)
"""The columns of _EVENTS, from `source` to `line`, that make an event: by place, since by name costs twice as much."""


def _event(row: Row[Any]) -> Event:
    source, source_event_id, kind, customer_key, occurred, received, event_id, said, delivery_id, line = row[_EVENT]
    attributes = json.loads(said)
    return Event(
        event_id, source, source_event_id, kind, customer_key, occurred, received, attributes, delivery_id, line
    )
