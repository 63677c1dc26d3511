"""What became of deliveries, and where their rows are."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from services.ingest import refusals, store
from services.ingest.domain.delivery import Delivery, LakeFile, Reject, Snapshot, State
from services.ingest.domain.feed import SCHEMA_VERSION
from services.kit import outbox
from services.kit.db import Database

LOADED = "delivery.loaded"
"""Kind of the outbox rows that WatchDeliveries follows."""


@dataclass(frozen=True)
class Watched:
    """A loaded delivery as it was then, or (delivery None) a checkpoint."""

    cursor: str
    delivery: Delivery | None
    traceparent: str


class Deliveries:
    """Reads over deliveries."""

    def __init__(self, db: Database, deliveries: store.Deliveries, feeds: store.Feeds) -> None:
        self._db = db
        self._deliveries = deliveries
        self._feeds = feeds

    async def get(self, delivery_id: str) -> Delivery:
        """One delivery. Raises delivery_not_found."""
        async with self._db.read() as read:
            found = await self._deliveries.get(read, delivery_id)
        if found is None:
            raise refusals.delivery_not_found(delivery_id)
        return found

    async def page(
        self, *, feed_id: str, state: State | None, file_name: str, before: int | None, size: int
    ) -> list[Delivery]:
        """Deliveries, the latest first."""
        async with self._db.read() as read:
            return await self._deliveries.page(
                read, feed_id=feed_id, state=state, file_name=file_name, before=before, size=size
            )

    async def rejects(self, delivery_id: str, *, after: int, size: int) -> tuple[Delivery, list[Reject]]:
        """Rejected rows of one delivery, by line. Raises delivery_not_found."""
        async with self._db.read() as read:
            found = await self._deliveries.get(read, delivery_id)
            if found is None:
                raise refusals.delivery_not_found(delivery_id)
            return found, await self._deliveries.rejects(read, delivery_id, after=after, size=size)

    async def snapshot(self, feed_id: str, since: date | None, until: date | None) -> Snapshot:
        """The lake's files of one feed, one consistent manifest. Raises feed_not_found."""
        async with self._db.read() as read:
            if await self._feeds.in_force(read, feed_id) is None:
                raise refusals.feed_not_found(feed_id)
            files: list[LakeFile] = await self._deliveries.files(read, feed_id, since, until)
        return Snapshot(tuple(files), SCHEMA_VERSION)

    async def watch(self, cursor: str, stop: asyncio.Event) -> AsyncIterator[Watched]:
        """Loaded deliveries in the order of their commits, for ever. Raises cursor_invalid."""
        async for item in outbox.follow(self._db, cursor=cursor, kinds=[LOADED], stop=stop):
            if isinstance(item, outbox.Event):
                yield Watched(item.cursor, from_payload(item.payload), item.traceparent)
            else:
                yield Watched(item.cursor, None, "")


def to_payload(loaded: Delivery) -> dict[str, Any]:
    """A loaded delivery as the outbox keeps it."""
    assert loaded.period is not None
    assert loaded.load_time is not None
    return {
        "delivery_id": loaded.delivery_id,
        "feed_id": loaded.feed_id,
        "revision": loaded.revision,
        "period": loaded.period.isoformat(),
        "sequence": loaded.sequence,
        "file_name": loaded.file_name,
        "sha256": loaded.sha256,
        "source_rows": loaded.source_rows,
        "loaded_rows": loaded.loaded_rows,
        "rejected_rows": loaded.rejected_rows,
        "receive_time": loaded.receive_time.isoformat(),
        "load_time": loaded.load_time.isoformat(),
    }


def from_payload(payload: Any) -> Delivery:
    """The delivery that an outbox row speaks of."""
    times = {name: datetime.fromisoformat(payload[name]) for name in ("receive_time", "load_time")}
    known = {**payload, **times, "period": date.fromisoformat(payload["period"])}
    return Delivery(**known, state=State.LOADED, problems=())
