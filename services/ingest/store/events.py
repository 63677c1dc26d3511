"""The event log, in the order of the transactions that wrote it, and the keys by which an event counts once."""

import asyncio
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import polars as pl
from sqlalchemy import Row, text

from services.ingest.domain.event import STAGED, Told, Unfit
from services.ingest.store import following
from services.ingest.store.binary import sent
from services.ingest.store.event_rows import Part, Same, content_of, file_rows, told_rows
from services.ingest.store.following import Wanted
from services.ingest.store.recent import Arrival, Logged, Recent
from services.kit.db import Read, Write
from services.kit.log import Page, Position


@dataclass(frozen=True)
class Left:
    """An event that was not written: `event_id` is that of the one told before, "" when the customer is not known."""

    at: int
    event_id: str
    same: bool


class Events:
    """The tables `event`, `event_key`, `event_arrival` and `event_reject`."""

    def __init__(self) -> None:
        self._recent = Recent()

    async def write(self, tx: Write, told: Sequence[Told], arrival: Arrival, *, fresh: bool = False) -> list[Left]:
        """Write events in this order, each unless its source told one under its id before; gives those not written.

        `fresh`: none is expected to be known. Then they are written at once, and looked at one by one only when the
        index of the keys says that one is known after all.
        """
        customers = {each.customer_key for each in told}
        orgs = await self._placed(tx, customers - {0})
        left, fit = list[Left](), list(range(len(told)))
        if not customers <= orgs.keys():
            left = [Left(at, "", same=False) for at, each in enumerate(told) if each.customer_key not in orgs]
            fit = [at for at, each in enumerate(told) if each.customer_key in orgs]
        if not fit:
            return left
        arrival_no, xid = await self._arrived(tx, arrival)
        self._recent.add(arrival_no, xid, told, arrival)
        if fresh and all(told[at].digest for at in fit):
            same: Same = {"arrival_no": arrival_no, "receive_time": arrival.receive_time}
            if await self._copied(tx, told_rows([(at, told[at]) for at in fit], orgs, same)):
                return left
        keys = await tx.driver.fetchval(_ADD_KEYS, fit, *content_of([told[at] for at in fit]), arrival_no)
        new = set(keys or ())
        added = [at for at in fit if at in new]
        await tx.driver.execute(
            _ADD_EVENTS,
            added,
            *content_of([told[at] for at in added]),
            [orgs[told[at].customer_key] for at in added],
            arrival.receive_time,
            arrival_no,
        )
        again = [at for at in fit if at not in new]
        if again:
            earlier = await tx.driver.fetch(_EARLIER, again, *content_of([told[at] for at in again]))
            left += [Left(row["at"], row["event_id"], row["same"]) for row in earlier]
        return left

    async def _arrived(self, tx: Write, arrival: Arrival) -> tuple[int, int]:
        """The number of what the events of an arrival share, and the transaction."""
        row = await tx.driver.fetchrow(_ARRIVED, arrival.batch_id, arrival.delivery_id, arrival.traceparent)
        assert row is not None, "an insert returns its row"
        return row["arrival_no"], int(row["xid"])

    async def _copied(self, tx: Write, parts: Sequence[Part]) -> bool:
        """COPY rows into tables; False, and nothing is written, when the index of the keys says that one is known."""
        try:
            async with tx.driver.transaction():
                await self._copy(tx, parts)
        except asyncpg.UniqueViolationError:
            return False
        return True

    async def _copy(self, tx: Write, parts: Sequence[Part]) -> None:
        for part in parts:
            await tx.driver.copy_to_table(
                part.table, source=sent(part.data), columns=part.columns, schema_name=_SCHEMA, format="binary"
            )

    async def _placed(self, tx: Write, customers: set[int]) -> dict[int, str]:
        """The organisation of each customer who is known and not erased; nobody (0) is in none."""
        rows = await tx.driver.fetch(_PLACED, sorted(customers)) if customers else []
        return {0: ""} | {row["customer_key"]: row["org_id"] for row in rows}

    async def add_rejects(
        self, tx: Write, unfit: Sequence[tuple[Unfit, bytes]], *, key_version: int, caller: str, now: datetime
    ) -> None:
        """Keep events that cannot be taken in, each with its sealed bytes."""
        records = [
            (each.source, each.source_event_id, each.reason, each.message, raw, key_version, caller, now)
            for each, raw in unfit
        ]
        await tx.copy("event_reject", _REJECT_COLUMNS, records)

    async def move(self, tx: Write, source: str, part: int, position: int) -> None:
        """An external stream was taken in up to a position."""
        await tx.execute(_MOVE, {"source": source, "part": part, "position": position})

    async def positions(self, read: Read, source: str) -> dict[int, int]:
        """How far the parts of an external stream were taken in."""
        found = await read.rows(text("SELECT part, position FROM broker_position WHERE source = :s"), {"s": source})
        return {row.part: row.position for row in found}

    async def rejects(self, read: Read, *, source: str, before: int | None, size: int) -> list[Row[Any]]:
        """Events that were not taken in, the latest first, without their bytes."""
        return await read.rows(_REJECTS, {"source": source, "before": before or (1 << 62), "size": size})

    async def add_fresh(
        self,
        tx: Write,
        frames: Iterator[pl.DataFrame],
        arrival: Arrival,
        *,
        source: str,
    ) -> bool:
        """COPY rows (columns STAGED and `digest`) straight into the log, in the order of their lines.

        False, and nothing is written, when the source told an event under one of their ids before: the key's index
        says so. That is seldom, and everything else needs no staging and no second look.
        """
        try:
            async with tx.driver.transaction():
                arrival_no, _ = await self._arrived(tx, arrival)
                same: Same = {"source": source, "arrival_no": arrival_no, "receive_time": arrival.receive_time}
                while (rows := await asyncio.to_thread(next, frames, None)) is not None:
                    orgs = await self._orgs(tx, rows["customer_key"].unique())
                    await self._copy(tx, await asyncio.to_thread(file_rows, rows, orgs, same))
        except asyncpg.UniqueViolationError:
            return False
        return True

    async def _orgs(self, tx: Write, customers: pl.Series) -> pl.DataFrame:
        """Where customers belong, of those that are known to belong somewhere."""
        row = await tx.driver.fetchrow(_ORGS, customers.to_list())
        assert row is not None, "an aggregate always has a row"
        found = {"customer_key": row[0] or [], "org_id": row[1] or []}
        return pl.DataFrame(found, schema={"customer_key": pl.Int64, "org_id": pl.String})

    async def stage(self, tx: Write, frames: Iterator[pl.DataFrame]) -> None:
        """Bring rows (columns STAGED) to Postgres for this transaction, for conflicts() and add_staged()."""
        await tx.execute(_STAGING)
        while (rows := await asyncio.to_thread(next, frames, None)) is not None:
            text_of_it = io.BytesIO(await asyncio.to_thread(_as_csv, rows.select(STAGED)))
            await tx.driver.copy_to_table(
                "staged", source=text_of_it, columns=list(STAGED), schema_name="pg_temp", format="csv"
            )

    async def conflicts(self, tx: Write, source: str) -> list[int]:
        """Lines of staged rows whose source told another event under the same id before."""
        return [row.line for row in await tx.rows(_CONFLICTS, {"source": source})]

    async def add_staged(self, tx: Write, arrival: Arrival, *, source: str) -> int:
        """Write the staged rows that are new, in the order of their lines; gives how many those are."""
        arrival_no, _ = await self._arrived(tx, arrival)
        return await tx.execute(_ADD_STAGED, {"source": source, "arrival_no": arrival_no, "now": arrival.receive_time})

    async def after(self, read: Read, place: Position, wanted: Wanted) -> Page[Logged]:
        """The next events after a place, those below every open transaction."""
        return await following.after(read, place, wanted, self._recent)


def _as_csv(rows: pl.DataFrame) -> bytes:
    """Rows for COPY: made by Polars, since a Python object a value costs ten times as much."""
    local = rows.with_columns(pl.col("occur_time").dt.replace_time_zone(None))
    return local.write_csv(include_header=False, datetime_format="%Y-%m-%dT%H:%M:%S%.3f+00").encode()


_SCHEMA = "ingest"

_ORGS = """
SELECT array_agg(customer_key), array_agg(org_id) FROM customer WHERE customer_key = ANY($1::bigint[])
"""

_REJECT_COLUMNS = (
    "source",
    "source_event_id",
    "reason",
    "message",
    "raw",
    "key_version",
    "caller",
    "receive_time",
)

_PLACED = """
SELECT customer_key, coalesce(org_id, '') AS org_id
FROM vault LEFT JOIN customer USING (customer_key) WHERE customer_key = ANY($1::bigint[]) AND erase_time IS NULL
"""

_ARRIVED = """
INSERT INTO event_arrival (batch_id, delivery_id, traceparent) VALUES ($1, $2, $3)
RETURNING arrival_no, pg_current_xact_id()::text AS xid
"""

# The keys decide who is new. In one order for all, so that no two writers wait for each other. No join: Postgres takes
# a list for a short one, and would go through the whole of it for each event.
_ADD_KEYS = """
WITH fresh AS (
    INSERT INTO event_key (source, source_event_id, digest, arrival_no, line)
    SELECT source, source_event_id, event_digest(type, customer_key, occur_time, attributes), $8, at
    FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[], $7::jsonb[])
        AS told (at, source, source_event_id, type, customer_key, occur_time, attributes)
    ORDER BY source_event_id, source, at
    ON CONFLICT (source_event_id, source) DO NOTHING
    RETURNING line
)
SELECT array_agg(line) FROM fresh
"""

_ADD_EVENTS = """
INSERT INTO event (arrival_no, line, source, source_event_id, type, customer_key, org_id, occur_time, receive_time,
                   said)
SELECT $10, at, source, source_event_id, type, customer_key, org_id, occur_time, $9, attributes::text
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[], $7::jsonb[], $8::text[])
    AS told (at, source, source_event_id, type, customer_key, occur_time, attributes, org_id)
"""

_EARLIER = """
SELECT told.at, coalesce(batch_id || '-' || event_key.line, event_key.event_id) AS event_id,
       event_key.digest = event_digest(type, customer_key, occur_time, attributes) AS same
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[], $7::jsonb[])
        AS told (at, source, source_event_id, type, customer_key, occur_time, attributes)
    JOIN event_key USING (source, source_event_id) LEFT JOIN event_arrival USING (arrival_no)
"""

_MOVE = text("""
INSERT INTO broker_position (source, part, position) VALUES (:source, :part, :position)
ON CONFLICT (source, part) DO UPDATE SET position = greatest(broker_position.position, EXCLUDED.position)
""")

_REJECTS = text("""
SELECT reject_no, source, source_event_id, reason, message, caller, receive_time FROM event_reject
WHERE reject_no < :before AND (:source = '' OR source = :source)
ORDER BY reject_no DESC LIMIT :size
""")

_STAGING = text("""
CREATE TEMP TABLE staged (
    source_event_id text, type text, customer_key bigint, occur_time timestamptz, attributes text, line bigint
) ON COMMIT DROP
""")

_DIGEST = "event_digest(staged.type, staged.customer_key, staged.occur_time, attributes::jsonb)"
_TOLD_DIGEST = "event_digest(type, customer_key, occur_time, attributes)"

_CONFLICTS = text(f"""
SELECT staged.line
FROM staged JOIN event_key ON event_key.source = :source AND event_key.source_event_id = staged.source_event_id
WHERE event_key.digest <> {_DIGEST}
ORDER BY staged.line
""")

_ADD_STAGED = text(f"""
WITH told AS MATERIALIZED (
    SELECT source_event_id, type, customer_key, occur_time, attributes::jsonb AS attributes, line
    FROM staged
), fresh AS (
    INSERT INTO event_key (source, source_event_id, digest, arrival_no, line)
    SELECT :source, source_event_id, {_TOLD_DIGEST}, CAST(:arrival_no AS bigint), line
    FROM told ORDER BY source_event_id
    ON CONFLICT (source_event_id, source) DO NOTHING
    RETURNING source_event_id
)
INSERT INTO event (arrival_no, line, source, source_event_id, type, customer_key, org_id, occur_time, receive_time,
                   said)
SELECT CAST(:arrival_no AS bigint), line, :source, source_event_id, type, customer_key, coalesce(customer.org_id, ''),
       occur_time, CAST(:now AS timestamptz), attributes::text
FROM told JOIN fresh USING (source_event_id) LEFT JOIN customer USING (customer_key)
ORDER BY line
""")
