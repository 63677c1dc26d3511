"""Contracts with suppliers: every revision is kept, the highest is in force."""

import functools
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, text
from sqlalchemy.dialects.postgresql import distinct_on

from services.ingest.domain import definition
from services.ingest.domain.delivery import FeedHealth
from services.ingest.domain.feed import Revision
from services.ingest.tables import feed as table
from services.kit.db import Read, Write


class Feeds:
    """The table `feed`."""

    async def lock(self, tx: Write) -> None:
        """Let nobody else change feeds until the end of the transaction."""
        await tx.execute(text("SELECT pg_advisory_xact_lock(hashtext('ingest.feed'))"))

    async def in_force(self, read: Read, feed_id: str) -> Revision | None:
        """The highest revision of a feed."""
        stmt = select(table).where(table.c.feed_id == feed_id).order_by(table.c.revision.desc()).limit(1)
        row = await read.row(stmt)
        return None if row is None else _revision(row)

    async def revision(self, read: Read, feed_id: str, revision: int) -> Revision | None:
        """One revision of a feed."""
        row = await read.row(select(table).where(table.c.feed_id == feed_id, table.c.revision == revision))
        return None if row is None else _revision(row)

    async def all_in_force(self, read: Read, *, after: str = "", size: int | None = None) -> list[Revision]:
        """The highest revision of every feed, by id, those after the id `after`."""
        stmt = (
            select(table)
            .ext(distinct_on(table.c.feed_id))
            .where(table.c.feed_id > after)
            .order_by(table.c.feed_id, table.c.revision.desc())
            .limit(size)
        )
        return [_revision(row) for row in await read.rows(stmt)]

    async def revisions(
        self, read: Read, feed_id: str = "", *, before: int | None = None, size: int | None = None
    ) -> list[Revision]:
        """All revisions of one feed or of all, by feed, the highest first; those before the number `before`."""
        stmt = select(table).order_by(table.c.feed_id, table.c.revision.desc()).limit(size)
        stmt = stmt.where(table.c.feed_id == feed_id) if feed_id else stmt
        stmt = stmt.where(table.c.revision < before) if before is not None else stmt
        return [_revision(row) for row in await read.rows(stmt)]

    async def shipped(self, read: Read) -> set[str]:
        """Checksums of all definitions that ever came with the platform."""
        return {row.shipped for row in await read.rows(select(table.c.shipped).where(table.c.shipped != ""))}

    async def add(self, tx: Write, revision: Revision, shipped: str) -> None:
        """A new revision."""
        row = {
            "feed_id": revision.feed.feed_id,
            "revision": revision.revision,
            "definition": revision.definition,
            "shipped": shipped,
            "update_time": revision.update_time,
        }
        await tx.execute(insert(table).values(row))

    async def health(self, read: Read, *, after: str, size: int) -> list[FeedHealth]:
        """How every feed is doing, by id; the rows are those of loaded deliveries."""
        rows = await read.rows(_HEALTH, {"after": after, "size": size})
        return [FeedHealth(*tuple(row)) for row in rows]


_HEALTH = text("""
SELECT feed_id, max(load_time) AS last_load_time, count(delivery_id) AS deliveries,
       count(*) FILTER (WHERE state = 'QUARANTINED') AS quarantined,
       coalesce(sum(source_rows) FILTER (WHERE state = 'LOADED'), 0)::bigint AS source_rows,
       coalesce(sum(loaded_rows) FILTER (WHERE state = 'LOADED'), 0)::bigint AS loaded_rows,
       coalesce(sum(rejected_rows) FILTER (WHERE state = 'LOADED'), 0)::bigint AS rejected_rows
FROM (SELECT DISTINCT feed_id FROM feed WHERE feed_id > :after ORDER BY feed_id LIMIT :size) AS known
LEFT JOIN delivery USING (feed_id)
GROUP BY feed_id
ORDER BY feed_id
""")


@functools.lru_cache(maxsize=512)
def _parsed(text_of_it: str) -> Any:
    return definition.read(text_of_it)


def _revision(row: Row[Any]) -> Revision:
    update_time: datetime = row.update_time
    return Revision(_parsed(row.definition), row.revision, row.definition, update_time)
