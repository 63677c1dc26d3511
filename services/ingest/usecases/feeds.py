"""Contracts with suppliers: register, read, and how each feed is doing."""

import hashlib
from collections.abc import Sequence

import structlog

from services.ingest import refusals, store
from services.ingest.domain import definition
from services.ingest.domain.feed import Feed, Revision
from services.kit import idempotency, operations
from services.kit.clock import Clock
from services.kit.db import Database, Write
from services.kit.errors import invalid_field
from services.kit.idempotency import RequestKey

_log = structlog.get_logger(__name__)


class Feeds:
    """Contracts with suppliers."""

    def __init__(self, db: Database, feeds: store.Feeds, clock: Clock) -> None:
        self._db = db
        self._feeds = feeds
        self._clock = clock

    async def ship(self, definitions: Sequence[str]) -> None:
        """Register the definitions that come with the platform, each unless that very text came before.

        So a new version of the platform brings its contracts in force, and an operator's own change stays otherwise.
        """
        shipped = {hashlib.sha256(text.encode()).hexdigest(): text for text in definitions}
        async with self._db.begin() as tx:
            await self._feeds.lock(tx)
            known = await self._feeds.shipped(tx)
            for checksum, text in shipped.items():
                if checksum not in known:
                    revision = await self._add(tx, definition.read(text), text, checksum)
                    _log.info("feed_shipped", feed=revision.feed.feed_id, revision=revision.revision)
            await tx.commit()

    async def update(self, feed_id: str, text: str, etag: str, key: RequestKey) -> Revision:
        """Register a feed, or a new revision of one; the text that is in force already makes none.

        Raises feed_invalid, feed_changed.
        """
        feed = definition.read(text)
        if feed.feed_id != feed_id:
            raise invalid_field([("feed.feed_id", f"the definition is of feed {feed.feed_id}")])
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await self._revision(tx, feed_id, int(earlier["revision"]))
            await self._feeds.lock(tx)
            current = await self._feeds.in_force(tx, feed_id)
            if etag and (current is None or etag != current.etag):
                raise refusals.feed_changed(feed_id, etag)
            same = current is not None and current.definition == text
            revision = current if same and current is not None else await self._add(tx, feed, text, "")
            if not same:
                await operations.record(tx, "ingest.UpdateFeed", feed_id, revision=revision.revision)
            await idempotency.answer(tx, key, {"revision": revision.revision})
            await tx.commit()
        return revision

    async def get(self, feed_id: str, number: int = 0) -> Revision:
        """One revision, the highest for 0. Raises feed_not_found."""
        async with self._db.read() as read:
            found = await (
                self._feeds.revision(read, feed_id, number) if number else self._feeds.in_force(read, feed_id)
            )
        if found is None:
            raise refusals.feed_not_found(feed_id)
        return found

    async def revisions(self, feed_id: str, *, before: int | None, size: int) -> list[Revision]:
        """Revisions of one feed, the highest first, those before the number `before`. Raises feed_not_found."""
        async with self._db.read() as read:
            found = await self._feeds.revisions(read, feed_id, before=before, size=size)
        if not found and before is None:
            raise refusals.feed_not_found(feed_id)
        return found

    async def page(self, after: str, size: int) -> list[Revision]:
        """Feeds by id."""
        async with self._db.read() as read:
            return await self._feeds.all_in_force(read, after=after, size=size)

    async def _add(self, tx: Write, feed: Feed, text: str, shipped: str) -> Revision:
        current = await self._feeds.in_force(tx, feed.feed_id)
        number = current.revision + 1 if current else 1
        revision = Revision(feed, number, text, self._clock())
        await self._feeds.add(tx, revision, shipped)
        return revision

    async def _revision(self, tx: Write, feed_id: str, number: int) -> Revision:
        found = await self._feeds.revision(tx, feed_id, number)
        assert found is not None, "a revision is never removed"
        return found
