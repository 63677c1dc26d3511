"""What points learns from ingest's reference feeds."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from zoneinfo import ZoneInfo

import structlog

from services.kit.clock import Clock
from services.kit.db import Database, Write
from services.points.domain import field
from services.points.domain.reference import PLACE_FIELDS, Snapshot
from services.points.store import Store

_log = structlog.get_logger(__name__)
_FIELDS = ("fields", PLACE_FIELDS)


class Rows(Protocol):
    """What the lake gives of a snapshot."""

    def by_id(self, snapshot: Snapshot) -> Mapping[str, Sequence[str]]:
        """Rows of organisations, staff or products by id, the latest of an id."""

    def fields(self, snapshot: Snapshot, zone: ZoneInfo) -> Sequence[field.Row]:
        """Rows of fields of customers or of places, the oldest file first; a date begins at midnight in `zone`."""


@dataclass(frozen=True)
class Prepared:
    """A snapshot with what its files say: `rows` by id, or the `fields` that stand and those that are refused.

    Neither is there when the projections hold the snapshot already.
    """

    snapshot: Snapshot
    rows: Mapping[str, Sequence[str]] | None = None
    fields: tuple[Sequence[field.Row], Sequence[tuple[field.Row, str]]] | None = None


@dataclass(frozen=True)
class Learning:
    """Brings the projections to what a snapshot says."""

    db: Database
    clock: Clock
    zone: ZoneInfo
    lake: Rows
    store: Store

    async def prepare(self, snapshot: Snapshot) -> Prepared:
        """Read the files, before any transaction: scoring waits for the ledger's lock, every Watch for a writer."""
        async with self.db.read() as read:
            if await self.store.references.manifest(read, snapshot.feed_id) == snapshot.manifest():
                return Prepared(snapshot)
        if snapshot.feed_id in _FIELDS:
            return Prepared(snapshot, fields=await asyncio.to_thread(self._fields, snapshot))
        return Prepared(snapshot, rows=await asyncio.to_thread(self.lake.by_id, snapshot))

    async def take(self, tx: Write, prepared: Prepared) -> None:
        """Learn a snapshot in the consumer's transaction; the same again changes nothing."""
        snapshot, now = prepared.snapshot, self.clock()
        await self.store.ledger.lock(tx)
        if await self.store.references.manifest(tx, snapshot.feed_id) == snapshot.manifest():
            return
        if prepared.fields is not None:
            standing, refused = prepared.fields
            known = await self.store.references.all_known_now(tx, places=snapshot.feed_id == PLACE_FIELDS)
            closed, opened = field.changes(known, standing)
            await self.store.references.learn(tx, closed, opened, now)
            await self.store.references.refuse(tx, snapshot.feed_id, refused)
            counts = len(standing), len(refused)
        elif prepared.rows is not None:
            await self.store.references.replace(tx, snapshot.feed_id, prepared.rows)
            counts = len(prepared.rows), 0
        else:
            return  # the projections have moved on since: another process follows now
        await self.store.references.hold(tx, snapshot.feed_id, snapshot.manifest(), *counts, now)
        await self.store.references.grow(tx)
        _log.info("reference_learned", feed=snapshot.feed_id, rows=counts[0], refused=counts[1])

    def _fields(self, snapshot: Snapshot) -> tuple[Sequence[field.Row], Sequence[tuple[field.Row, str]]]:
        return field.told(self.lake.fields(snapshot, self.zone))
