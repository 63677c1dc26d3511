"""Persons who are erased: what is asked, what each table still has of them, and the proof."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Row, bindparam, insert, literal, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY

from services.ingest.tables import erasure
from services.kit.db import Read, Write


@dataclass(frozen=True)
class StoredFile:
    """A file of the lake in one of the manifests `lake_file` and `ods_file`."""

    manifest: str
    path: str
    bucket: int
    feed_id: str


@dataclass(frozen=True)
class Raw:
    """Sealed bytes of a rejected row or event; `about` is what they were sealed as, `key` finds the row again."""

    key: tuple[Any, ...]
    about: bytes
    sealed: bytes
    key_version: int


class Erasures:
    """The table `erasure`, and the person's rows in all others."""

    async def get(self, read: Read, erasure_id: str) -> Row[Any] | None:
        """One erasure."""
        return await read.row(select(erasure).where(erasure.c.erasure_id == erasure_id))

    async def of_customer(self, read: Read, customer_key: int) -> Row[Any] | None:
        """The erasure of a customer, if he was or is being erased."""
        return await read.row(select(erasure).where(erasure.c.customer_keys.contains([customer_key])))

    async def page(self, read: Read, *, before: tuple[datetime, str] | None, size: int) -> list[Row[Any]]:
        """Erasures, the latest first."""
        order: Any = tuple_(erasure.c.request_time, erasure.c.erasure_id)
        stmt = select(erasure).order_by(order.desc()).limit(size)
        if before is not None:
            stmt = stmt.where(order < tuple_(literal(before[0]), literal(before[1])))
        return await read.rows(stmt)

    async def begin(self, tx: Write, row: Mapping[str, Any], now: datetime) -> None:
        """Take the person out of the vault and keep what the job needs to find him."""
        await tx.execute(insert(erasure).values(row))
        keys = {"keys": row["customer_keys"], "now": now}
        await tx.execute(_FORGET, keys)
        await tx.execute(_DROP_CUSTOMER, keys)

    async def end(self, tx: Write, erasure_id: str, removed: Any, proof: Any, now: datetime) -> None:
        """He is gone: the proof is kept, his numbers are not."""
        values = {"removed": removed, "proof": proof, "sealed": [], "end_time": now}
        await tx.execute(update(erasure).where(erasure.c.erasure_id == erasure_id).values(values))

    async def drop_events(self, tx: Write, keys: Sequence[int]) -> int:
        """Remove his events from the log, but the one that says that he is erased."""
        return await tx.execute(_DROP_EVENTS, {"keys": list(keys)})

    async def left(self, read: Read, keys: Sequence[int]) -> dict[str, tuple[int, int]]:
        """place → (rows looked at, rows that still name him) of the tables that have his keys in clear."""
        row = await read.row(_LEFT, {"keys": list(keys)})
        assert row is not None
        return {place: (getattr(row, f"{place}_rows"), getattr(row, place)) for place in ("vault", "customer", "event")}

    async def stored(self, read: Read, before: datetime) -> list[StoredFile]:
        """All files of the lake whose deliveries came before an instant, by path."""
        rows = await read.rows(_STORED, {"before": before})
        return [StoredFile(*tuple(row)) for row in rows]

    async def put_file(self, tx: Write, old: StoredFile, new: Mapping[str, Any], now: datetime) -> bool:
        """One file takes the place of another, or of none when no row is left; False when it was replaced meanwhile."""
        params = {"old": old.path, "feed_id": old.feed_id, "now": now, **new}
        done = await tx.execute(_REPLACE[old.manifest] if new["path"] else _DROP[old.manifest], params)
        await tx.execute(_GARBAGE, params)
        return bool(done)

    async def deliveries(self, read: Read, before: datetime) -> set[str]:
        """Deliveries that came before an instant."""
        rows = await read.rows(text("SELECT delivery_id FROM delivery WHERE receive_time <= :t"), {"t": before})
        return {row.delivery_id for row in rows}

    async def raw_rows(self, read: Read, after: tuple[str, int], size: int) -> list[Raw]:
        """Rejected rows of deliveries after a place, with their sealed bytes."""
        rows = await read.rows(_RAW_ROWS, {"id": after[0], "line": after[1], "size": size})
        return [
            Raw(
                (row.delivery_id, row.line),
                f"reject {row.delivery_id} {row.line}".encode(),
                bytes(row.raw),
                row.key_version,
            )
            for row in rows
        ]

    async def raw_events(self, read: Read, after: int, size: int) -> list[Raw]:
        """Rejected events after a number, with their sealed bytes."""
        rows = await read.rows(_RAW_EVENTS, {"no": after, "size": size})
        return [Raw((row[0],), b"event", bytes(row.raw), row.key_version) for row in rows]

    async def empty_rows(self, tx: Write, keys: Sequence[tuple[Any, ...]]) -> None:
        """Forget the bytes of rejected rows; that they were rejected, and why, stays."""
        await tx.execute(_EMPTY_ROWS, [{"id": key[0], "line": key[1]} for key in keys])

    async def empty_events(self, tx: Write, keys: Sequence[tuple[Any, ...]]) -> None:
        """Forget the bytes of rejected events."""
        await tx.execute(_EMPTY_EVENTS, [{"no": key[0]} for key in keys])

    async def loads_before(self, read: Read, before: datetime) -> int:
        """Loads under way that may have looked up his key before an instant."""
        return int(await read.value(_LOADS, {"before": before}))


_KEYS = bindparam("keys", type_=ARRAY(BigInteger))

_FORGET = text("""
UPDATE vault SET token = NULL, sealed = '', erase_time = :now WHERE customer_key = ANY(:keys)
""").bindparams(_KEYS)

_DROP_CUSTOMER = text("DELETE FROM customer WHERE customer_key = ANY(:keys)").bindparams(_KEYS)

_DROP_EVENTS = text("""
DELETE FROM event WHERE customer_key = ANY(:keys) AND NOT (source = 'identity' AND type = 'subject.erased')
""").bindparams(_KEYS)

_LEFT = text("""
SELECT (SELECT count(*) FROM vault) AS vault_rows,
       (SELECT count(*) FROM vault WHERE customer_key = ANY(:keys) AND (token IS NOT NULL OR sealed <> '')) AS vault,
       (SELECT count(*) FROM customer) AS customer_rows,
       (SELECT count(*) FROM customer WHERE customer_key = ANY(:keys)) AS customer,
       (SELECT count(*) FROM event) AS event_rows,
       (SELECT count(*) FROM event WHERE customer_key = ANY(:keys)
           AND NOT (source = 'identity' AND type = 'subject.erased')) AS event
""").bindparams(_KEYS)

_STORED = text("""
SELECT 'lake_file' AS manifest, path, bucket, feed_id FROM lake_file JOIN delivery USING (delivery_id)
WHERE receive_time <= :before
UNION ALL
SELECT 'ods_file', path, -1, feed_id FROM ods_file JOIN delivery USING (delivery_id) WHERE receive_time <= :before
ORDER BY path
""")

_REPLACE = {
    manifest: text(f"UPDATE {manifest} SET path = :path, rows = :rows, sha256 = :sha256 WHERE path = :old")
    for manifest in ("lake_file", "ods_file")
}
_DROP = {manifest: text(f"DELETE FROM {manifest} WHERE path = :old") for manifest in ("lake_file", "ods_file")}

_GARBAGE = text("""
INSERT INTO lake_garbage (path, feed_id, since) VALUES (:old, :feed_id, :now) ON CONFLICT DO NOTHING
""")

_RAW_ROWS = text("""
SELECT delivery_id, line, raw, key_version FROM reject
WHERE (delivery_id, line) > (:id, :line) ORDER BY delivery_id, line LIMIT :size
""")
_RAW_EVENTS = text("""
SELECT reject_no, raw, key_version FROM event_reject WHERE reject_no > :no ORDER BY reject_no LIMIT :size
""")
_EMPTY_ROWS = text("UPDATE reject SET raw = '' WHERE delivery_id = :id AND line = :line")
_EMPTY_EVENTS = text("UPDATE event_reject SET raw = '' WHERE reject_no = :no")

_LOADS = text("""
SELECT count(*) FROM job WHERE kind IN ('load', 'land') AND state = 'RUNNING' AND start_time <= :before
""")
