"""What readers see of the layers: snapshots with leases, and the lineage of a row."""

from dataclasses import dataclass
from datetime import date, timedelta

import pyarrow.compute as pc
import pyarrow.parquet as pq

from services.ingest import refusals, store
from services.ingest.domain.delivery import Delivery, LakeFile, Snapshot
from services.ingest.domain.feed import SCHEMA_VERSION
from services.ingest.lake.files import Files
from services.ingest.store.layers import Layers as Store
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.ids import Ids


@dataclass(frozen=True)
class Taken:
    """A snapshot, the deliveries of its compacted files by path, and the lease ("" when none was asked for)."""

    snapshot: Snapshot
    parts: dict[str, list[str]]
    lease_id: str


@dataclass(frozen=True)
class Origin:
    """Where a conformed row came from; `landed` is "" when the landed file is not there (yet)."""

    delivery: Delivery
    line: int
    path: str
    landed: str
    customer_key: int


class Layers:
    """Reads over the landed and the conformed layer."""

    def __init__(
        self,
        db: Database,
        layers: Store,
        deliveries: store.Deliveries,
        feeds: store.Feeds,
        files: Files,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._db = db
        self._layers = layers
        self._deliveries = deliveries
        self._feeds = feeds
        self._files = files
        self._clock = clock
        self._ids = ids

    async def snapshot(
        self, feed_id: str, since: date | None, until: date | None, *, landed: bool, lease: timedelta, holder: str
    ) -> Taken:
        """The files of one feed in one consistent manifest, kept for the lease. Raises feed_not_found."""
        async with self._db.begin() as tx:
            if await self._feeds.in_force(tx, feed_id) is None:
                raise refusals.feed_not_found(feed_id)
            lease_id = ""
            if lease:
                lease_id, now = self._ids(), self._clock()
                await self._layers.lease(
                    tx, lease_id=lease_id, feed_id=feed_id, holder=holder, now=now, until=now + lease
                )
            read = self._layers.landed if landed else self._deliveries.files
            files: list[LakeFile] = await read(tx, feed_id, since, until)
            parts = await self._layers.parts(tx, [file.path for file in files])
            await tx.commit()
        named = {path: [row.delivery_id for row in rows] for path, rows in parts.items()}
        return Taken(Snapshot(tuple(files), SCHEMA_VERSION), named, lease_id)

    async def release(self, lease_id: str) -> None:
        """A reader is done; a lease that has ended is released already."""
        async with self._db.begin() as tx:
            await self._layers.release(tx, lease_id)
            await tx.commit()

    async def lineage(self, feed_id: str, period: date, line: int, customer_key: int) -> list[Origin]:
        """The deliveries that have such a row. Raises row_not_found."""
        async with self._db.read() as read:
            candidates = await self._layers.origins(read, feed_id, period)
            parts = await self._layers.parts(read, [each.path for each in candidates])
            deliveries = {each.delivery_id: await self._deliveries.get(read, each.delivery_id) for each in candidates}
        found = []
        for each in candidates:
            part = next((row for row in parts.get(each.path, []) if row.delivery_id == each.delivery_id), None)
            span = None if part is None else (part.first_row, part.rows)
            key = self._find(each.path, span, line, customer_key)
            delivery = deliveries[each.delivery_id]
            if key is not None and delivery is not None:
                found.append(Origin(delivery, line, each.path, each.landed_path, key))
        if not found:
            raise refusals.row_not_found(feed_id, line)
        return found

    def _find(self, path: str, span: tuple[int, int] | None, line: int, customer_key: int) -> int | None:
        """The customer key of the row of a file with this line, 0 when it has none; None when there is no such row."""
        with self._files.open(path) as file:
            parquet = pq.ParquetFile(file)
            keyed = "customer_key" in parquet.schema_arrow.names
            table = parquet.read(columns=["customer_key", "line"] if keyed else ["line"])
        table = table if span is None else table.slice(*span)
        rows = table.filter(pc.equal(table["line"], line))
        if not rows.num_rows:
            return None
        key = (rows["customer_key"][0].as_py() or 0) if keyed else 0
        return key if customer_key in (0, key) else None
