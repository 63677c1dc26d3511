"""The event log, in the order of the transactions that wrote it."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import polars as pl
from sqlalchemy import Row, bindparam, case, cast, func, literal, select, text, tuple_
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert
from sqlalchemy.types import Text

from services.ingest.domain.event import STAGED, Event
from services.ingest.tables import customer, event
from services.kit.db import Read, Write

Position = tuple[int, int]
"""A place in the log: the transaction, and the number within. (0, 0) is the beginning."""

_FIELDS = (
    "event_id",
    "source",
    "source_event_id",
    "type",
    "customer_key",
    "occur_time",
    "receive_time",
    "attributes",
    "delivery_id",
    "line",
)


@dataclass(frozen=True)
class Logged:
    """An event at its place in the log; `traceparent` is the span that wrote it."""

    position: Position
    event: Event
    traceparent: str


@dataclass(frozen=True)
class Page:
    """Events after a place. `horizon`: nothing will ever be written below it; `head`: the next transaction."""

    events: list[Logged]
    horizon: int
    head: int


class Events:
    """The table `event`."""

    async def add(self, tx: Write, new: Event, traceparent: str) -> bool:
        """Write an event, unless its source told one under this id before; says whether it did."""
        org = select(customer.c.org_id).where(customer.c.customer_key == new.customer_key).scalar_subquery()
        row = asdict(new) | {"org_id": func.coalesce(org, ""), "traceparent": traceparent}
        return bool(await tx.execute(insert(event).values(row).on_conflict_do_nothing()))

    async def same(self, read: Read, new: Event) -> str:
        """The id of the event that its source told under this id; "" when it was another event."""
        told = tuple_(event.c.type, event.c.customer_key, event.c.occur_time, event.c.attributes)
        now = tuple_(new.type, new.customer_key, literal(new.occur_time), cast(dict(new.attributes), JSONB))
        stmt = select(case((told == now, event.c.event_id), else_=""))
        is_it = (event.c.source == new.source, event.c.source_event_id == new.source_event_id)
        found: str = await read.value(stmt.where(*is_it))
        return found

    async def stage(self, tx: Write, frames: Iterable[pl.DataFrame]) -> None:
        """Bring rows (columns STAGED) to Postgres for this transaction, for conflicts() and add_staged()."""
        await tx.execute(_STAGING)
        records = chain.from_iterable(rows.select(STAGED).iter_rows() for rows in frames)
        await tx.driver.copy_records_to_table("staged", records=records, columns=list(STAGED), schema_name="pg_temp")

    async def conflicts(self, tx: Write, source: str) -> list[int]:
        """Lines of staged rows whose source told another event under the same id before."""
        return [row.line for row in await tx.rows(_CONFLICTS, {"source": source})]

    async def add_staged(self, tx: Write, *, source: str, delivery_id: str, now: Any, traceparent: str) -> int:
        """Write the staged rows by line; what was told before is not told again. Gives how many were new."""
        values = {"source": source, "delivery_id": delivery_id, "now": now, "traceparent": traceparent}
        return await tx.execute(_ADD_STAGED, values)

    async def after(self, read: Read, position: Position, prefixes: Sequence[str], size: int) -> Page:
        """Events after a place whose type begins with one of the prefixes (none given: all).

        Only events of transactions below the oldest one still open: what commits late is never jumped over.
        """
        values = {"xid": str(position[0]), "no": position[1], "prefixes": list(prefixes), "size": size}
        rows = await read.rows(_AFTER, values)
        events = [Logged((int(row.xid), row.event_no), _event(row), row.traceparent) for row in rows if row.event_id]
        return Page(events, int(rows[0].horizon), int(rows[0].head))


_STAGING = text("""
CREATE TEMP TABLE staged (
    source_event_id text, type text, customer_key bigint, occur_time timestamptz, attributes text, line bigint
) ON COMMIT DROP
""")

_CONFLICTS = text("""
SELECT staged.line
FROM staged JOIN event ON event.source = :source AND event.source_event_id = staged.source_event_id
WHERE (event.type, event.customer_key, event.occur_time, event.attributes)
    IS DISTINCT FROM (staged.type, staged.customer_key, staged.occur_time, jsonb_strip_nulls(staged.attributes::jsonb))
ORDER BY staged.line
""")

_ADD_STAGED = text("""
INSERT INTO event (event_id, source, source_event_id, type, customer_key, org_id, occur_time, receive_time, attributes,
                   delivery_id, line, traceparent)
SELECT :delivery_id || '-' || line, :source, source_event_id, type, customer_key, coalesce(customer.org_id, ''),
       occur_time, CAST(:now AS timestamptz), jsonb_strip_nulls(attributes::jsonb), :delivery_id, line, :traceparent
FROM staged LEFT JOIN customer USING (customer_key)
ORDER BY line
ON CONFLICT (source, source_event_id) DO NOTHING
""")

_AFTER = (
    text("""
SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS horizon, pg_snapshot_xmax(pg_current_snapshot())::text AS head,
       found.xid::text AS xid, found.event_no, found.event_id, found.source, found.source_event_id, found.type,
       found.customer_key, found.occur_time, found.receive_time, found.attributes, found.delivery_id, found.line,
       found.traceparent
FROM (VALUES (1)) AS always
LEFT JOIN LATERAL (
    SELECT * FROM event
    WHERE (xid, event_no) > (CAST(CAST(:xid AS text) AS xid8), :no)
      AND xid < pg_snapshot_xmin(pg_current_snapshot())
      AND (cardinality(:prefixes) = 0
           OR EXISTS (SELECT FROM unnest(:prefixes) AS prefix WHERE starts_with(type, prefix)))
    ORDER BY xid, event_no
    LIMIT :size
) AS found ON true
ORDER BY found.xid, found.event_no
""")
    .bindparams(bindparam("prefixes", type_=ARRAY(Text)))
    .columns(attributes=JSONB)
)


def _event(row: Row[Any]) -> Event:
    return Event(**{name: getattr(row, name) for name in _FIELDS})
