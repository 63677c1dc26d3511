"""The landed layer, lineage, leases of readers, and what has grown too old."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, text

from services.ingest.domain.delivery import LakeFile
from services.kit.db import Read, Write


@dataclass(frozen=True)
class Origin:
    """A conformed file that may hold a row, the rows of it that came with a delivery, its landed file or ""."""

    delivery_id: str
    path: str
    landed_path: str


@dataclass(frozen=True)
class Small:
    """A file that may be compacted with its neighbours of the same feed, period and bucket."""

    feed_id: str
    period: date
    bucket: int
    path: str
    rows: int
    delivery_id: str


class Layers:
    """The tables `ods_file`, `lake_part`, `lake_garbage`, `lake_lease`, and the months of `event`."""

    async def add_landed(self, tx: Write, file: LakeFile) -> None:
        """The landed file of a delivery; the same again changes nothing."""
        await tx.execute(_ADD_LANDED, asdict(file))

    async def landed(self, read: Read, feed_id: str, since: date | None, until: date | None) -> list[LakeFile]:
        """The landed files of a feed's deliveries in force, by period and arrival."""
        rows = await read.rows(_LANDED, {"feed_id": feed_id, "since": since or date.min, "until": until or date.max})
        return [LakeFile(row.path, row.rows, row.sha256, row.period, -1, row.delivery_id) for row in rows]

    async def parts(self, read: Read, paths: Sequence[str]) -> dict[str, list[Row[Any]]]:
        """Deliveries of compacted files, in the order of their rows: (path, delivery_id, first_row, rows)."""
        found: dict[str, list[Row[Any]]] = {}
        for row in await read.rows(_PARTS, {"paths": list(paths)}):
            found.setdefault(row.path, []).append(row)
        return found

    async def origins(self, read: Read, feed_id: str, period: date) -> list[Origin]:
        """Every conformed file of a feed and period with each delivery in it, superseded ones too, by arrival."""
        rows = await read.rows(_ORIGINS, {"feed_id": feed_id, "period": period})
        return [Origin(*tuple(row)) for row in rows]

    async def lease(
        self, tx: Write, *, lease_id: str, feed_id: str, holder: str, now: datetime, until: datetime
    ) -> None:
        """A reader holds the manifest of a feed as it is now."""
        params = {"id": lease_id, "feed_id": feed_id, "holder": holder, "now": now, "until": until}
        await tx.execute(_LEASE, params)

    async def release(self, tx: Write, lease_id: str) -> None:
        """A reader is done."""
        await tx.execute(text("DELETE FROM lake_lease WHERE lease_id = :id"), {"id": lease_id})

    async def garbage(self, read: Read, *, replaced_before: datetime, now: datetime) -> list[str]:
        """Files that no manifest names, replaced before an instant, and that no lease holds."""
        rows = await read.rows(_GARBAGE, {"before": replaced_before, "now": now})
        return [row.path for row in rows]

    async def garbage_left(self, read: Read) -> int:
        """How many replaced files are still there."""
        return int(await read.value(text("SELECT count(*) FROM lake_garbage")))

    async def drop_garbage(self, tx: Write, paths: Sequence[str], now: datetime) -> None:
        """They are removed."""
        await tx.execute(text("DELETE FROM lake_garbage WHERE path = ANY(:paths)"), {"paths": list(paths)})
        await tx.execute(text("DELETE FROM lake_lease WHERE lease_until < :now"), {"now": now})

    async def roll_off(self, tx: Write, feed_id: str, before: date, now: datetime) -> int:
        """Take the files of a feed's periods before a day out of the manifests; gives how many."""
        params = {"feed_id": feed_id, "before": before, "now": now}
        await tx.execute(_EMPTY_REJECTS, params)
        return len(await tx.rows(_ROLL_LAKE, params)) + len(await tx.rows(_ROLL_LANDED, params))

    async def make_months(self, tx: Write, first: Sequence[date]) -> None:
        """Make the months of the event log that are missing."""
        for month in first:
            await tx.execute(text("SELECT event_make_month(:month)"), {"month": month})

    async def months(self, read: Read, before: datetime) -> list[str]:
        """Months of the event log that ended before an instant, the oldest first."""
        rows = await read.rows(text("SELECT name FROM event_month WHERE until <= :t ORDER BY until"), {"t": before})
        return [row.name for row in rows]

    async def last_of_month(self, read: Read, month: str) -> tuple[int, int] | None:
        """The last place of a month; None when it is empty."""
        row = await read.row(text(f"SELECT xid::text, event_no FROM {month} ORDER BY xid DESC, event_no DESC LIMIT 1"))
        return None if row is None else (int(row.xid), row.event_no)

    async def drop_month(self, tx: Write, month: str, last: tuple[int, int] | None) -> None:
        """Remove a month, and remember how far the log has lost its beginning."""
        if last is not None:
            await tx.execute(_ROLLED, {"xid": str(last[0]), "no": last[1]})
        await tx.execute(text("SELECT event_drop_month(:month)"), {"month": month})

    async def rolled(self, read: Read) -> tuple[int, int]:
        """The last place that the log does not keep any more; (0, 0) when it keeps all."""
        row = await read.row(text("SELECT xid::text, event_no FROM event_rolled"))
        return (0, 0) if row is None else (int(row.xid), row.event_no)

    async def seen(self, tx: Write, subject: str, stream: str, place: tuple[int, int], now: datetime) -> None:
        """A follower opened its stream at a place: it has kept all before."""
        params = {"subject": subject, "stream": stream, "xid": str(place[0]), "no": place[1], "now": now}
        await tx.execute(_SEEN, params)

    async def slowest(self, read: Read, since: datetime) -> tuple[int, int] | None:
        """The place before which every follower that was seen since an instant has kept all; None without any."""
        stmt = text(
            "SELECT xid::text, event_no FROM event_follower WHERE seen_time >= :t ORDER BY xid, event_no LIMIT 1"
        )
        row = await read.row(stmt, {"t": since})
        return None if row is None else (int(row.xid), row.event_no)

    async def small(self, read: Read, before: date, rows: int) -> list[Small]:
        """Uncompacted files of fewer rows than that, where a day and bucket has several, of periods before a day."""
        found = await read.rows(_SMALL, {"before": before, "rows": rows})
        return [Small(*tuple(row)) for row in found]

    async def compact(self, tx: Write, new: LakeFile, old: Sequence[Small], now: datetime) -> bool:
        """One file takes the place of several; False when a delivery of them is not in force any more."""
        ids, paths = [each.delivery_id for each in old], [each.path for each in old]
        held = await tx.rows(_IN_FORCE, {"ids": ids, "paths": paths})
        if len(held) != len(old):
            return False
        await tx.execute(_ADD_COMPACTED, asdict(new))
        first = 0
        for each in old:
            part = {"path": new.path, "id": each.delivery_id, "first": first, "rows": each.rows}
            await tx.execute(_ADD_PART, part)
            first += each.rows
        await tx.execute(_ADD_GARBAGE, {"paths": paths, "feed_id": old[0].feed_id, "now": now})
        await tx.execute(text("DELETE FROM lake_file WHERE path = ANY(:paths)"), {"paths": paths})
        return True

    async def disputed(self, read: Read) -> list[Row[Any]]:
        """Compacted files of which a delivery is about to be superseded: path, feed_id, period, bucket."""
        return await read.rows(_DISPUTED)

    async def take_apart(self, tx: Write, path: str, parts: Sequence[LakeFile], feed_id: str, now: datetime) -> bool:
        """A file of each delivery takes the place of a compacted one; False when it is gone already."""
        if not await tx.execute(text("DELETE FROM lake_file WHERE path = :path"), {"path": path}):
            return False
        await tx.execute(_ADD_COMPACTED, [asdict(part) for part in parts])
        await tx.execute(_ADD_GARBAGE, {"paths": [path], "feed_id": feed_id, "now": now})
        return True


_DISPUTED = text("""
SELECT DISTINCT lake_file.path, old.feed_id, lake_file.period, lake_file.bucket
FROM delivery AS new JOIN delivery AS old USING (feed_id, period, sequence)
    JOIN lake_part ON lake_part.delivery_id = old.delivery_id JOIN lake_file USING (path)
WHERE new.state IN ('RECEIVED', 'LOADING') AND old.state = 'LOADED'
ORDER BY lake_file.path
""")

_ADD_LANDED = text("""
INSERT INTO ods_file (path, delivery_id, rows, sha256, period) VALUES (:path, :delivery_id, :rows, :sha256, :period)
ON CONFLICT DO NOTHING
""")

_LANDED = text("""
SELECT ods_file.* FROM ods_file JOIN delivery USING (delivery_id)
WHERE feed_id = :feed_id AND state = 'LOADED' AND ods_file.period BETWEEN :since AND :until
ORDER BY ods_file.period, delivery_no
""")

_PARTS = text("SELECT * FROM lake_part WHERE path = ANY(:paths) ORDER BY path, first_row")

_ORIGINS = text("""
SELECT delivery.delivery_id, file.path, coalesce(ods_file.path, '')
FROM (
    SELECT lake_file.path, coalesce(lake_part.delivery_id, lake_file.delivery_id) AS delivery_id, period
    FROM lake_file LEFT JOIN lake_part USING (path)
) AS file
JOIN delivery USING (delivery_id) LEFT JOIN ods_file USING (delivery_id)
WHERE delivery.feed_id = :feed_id AND file.period = :period
ORDER BY delivery_no, file.path
""")

_LEASE = text("""
INSERT INTO lake_lease (lease_id, feed_id, holder, take_time, lease_until) VALUES (:id, :feed_id, :holder, :now, :until)
""")

_GARBAGE = text("""
SELECT path FROM lake_garbage
WHERE since <= :before AND NOT EXISTS (
    SELECT FROM lake_lease
    WHERE lake_lease.feed_id = lake_garbage.feed_id AND take_time <= since AND lease_until > :now)
ORDER BY path
""")

_ROLL_LAKE = text("""
WITH old AS (
    DELETE FROM lake_file USING delivery
    WHERE lake_file.delivery_id = delivery.delivery_id AND feed_id = :feed_id AND lake_file.period < :before
    RETURNING path, feed_id
)
INSERT INTO lake_garbage SELECT path, feed_id, CAST(:now AS timestamptz) FROM old ON CONFLICT DO NOTHING RETURNING path
""")

_ROLL_LANDED = text("""
WITH old AS (
    DELETE FROM ods_file USING delivery
    WHERE ods_file.delivery_id = delivery.delivery_id AND feed_id = :feed_id AND ods_file.period < :before
    RETURNING path, feed_id
)
INSERT INTO lake_garbage SELECT path, feed_id, CAST(:now AS timestamptz) FROM old ON CONFLICT DO NOTHING RETURNING path
""")

_EMPTY_REJECTS = text("""
UPDATE reject SET raw = '' FROM delivery
WHERE reject.delivery_id = delivery.delivery_id AND feed_id = :feed_id AND period < :before AND raw <> ''
""")

_ROLLED = text("""
INSERT INTO event_rolled (xid, event_no) VALUES (CAST(CAST(:xid AS text) AS xid8), :no)
ON CONFLICT (one) DO UPDATE SET xid = EXCLUDED.xid, event_no = EXCLUDED.event_no
WHERE (event_rolled.xid, event_rolled.event_no) < (EXCLUDED.xid, EXCLUDED.event_no)
""")

_SEEN = text("""
INSERT INTO event_follower (subject, stream, xid, event_no, seen_time)
VALUES (:subject, :stream, CAST(CAST(:xid AS text) AS xid8), :no, :now)
ON CONFLICT (subject, stream) DO UPDATE
SET xid = EXCLUDED.xid, event_no = EXCLUDED.event_no, seen_time = EXCLUDED.seen_time
""")

_SMALL = text("""
WITH candidate AS (
    SELECT feed_id, lake_file.period, bucket, path, rows, delivery_id, delivery_no,
           count(*) OVER (PARTITION BY feed_id, lake_file.period, bucket) AS neighbours
    FROM lake_file JOIN delivery USING (delivery_id)
    WHERE state = 'LOADED' AND lake_file.period < :before AND rows < :rows
      AND NOT EXISTS (SELECT FROM lake_part WHERE lake_part.path = lake_file.path)
)
SELECT feed_id, period, bucket, path, rows, delivery_id FROM candidate WHERE neighbours > 1
ORDER BY feed_id, period, bucket, delivery_no
""")

_IN_FORCE = text("""
SELECT path FROM lake_file JOIN delivery USING (delivery_id)
WHERE path = ANY(:paths) AND delivery_id = ANY(:ids) AND state = 'LOADED' FOR SHARE OF delivery
""")

_ADD_COMPACTED = text("""
INSERT INTO lake_file (path, delivery_id, rows, sha256, period, bucket)
VALUES (:path, :delivery_id, :rows, :sha256, :period, :bucket)
""")

_ADD_PART = text("INSERT INTO lake_part VALUES (:path, :id, :first, :rows)")

_ADD_GARBAGE = text("""
INSERT INTO lake_garbage SELECT path, :feed_id, CAST(:now AS timestamptz) FROM unnest(CAST(:paths AS text[])) AS path
ON CONFLICT DO NOTHING
""")
