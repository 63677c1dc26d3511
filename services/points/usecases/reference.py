"""What points learns from ingest's reference feeds."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from zoneinfo import ZoneInfo

import structlog

from services.kit.clock import Clock
from services.kit.db import Write
from services.points.domain import field
from services.points.domain.reference import Snapshot
from services.points.store import Store

_log = structlog.get_logger(__name__)


class Rows(Protocol):
    """What the lake gives of a snapshot."""

    def by_id(self, snapshot: Snapshot) -> Mapping[str, Sequence[str]]:
        """Rows of organisations, staff or products by id, the latest of an id."""

    def fields(self, snapshot: Snapshot, zone: ZoneInfo) -> Sequence[field.Row]:
        """Rows of fields, the oldest file first; a date begins at midnight in `zone`."""


@dataclass(frozen=True)
class Learning:
    """Brings the projections to what a snapshot says."""

    clock: Clock
    zone: ZoneInfo
    lake: Rows
    store: Store

    async def take(self, tx: Write, snapshot: Snapshot) -> None:
        """Learn a snapshot in the consumer's transaction; the same again changes nothing."""
        await self.store.ledger.lock(tx)
        if await self.store.references.manifest(tx, snapshot.feed_id) == snapshot.manifest():
            return
        now = self.clock()
        if snapshot.feed_id == "fields":
            loaded, refused = await self._learn_fields(tx, snapshot, now)
        else:
            rows = await asyncio.to_thread(self.lake.by_id, snapshot)
            await self.store.references.replace(tx, snapshot.feed_id, rows)
            loaded, refused = len(rows), 0
        await self.store.references.hold(tx, snapshot.feed_id, snapshot.manifest(), loaded, refused, now)
        await self.store.references.grow(tx)
        _log.info("reference_learned", feed=snapshot.feed_id, rows=loaded, refused=refused)

    async def _learn_fields(self, tx: Write, snapshot: Snapshot, now: datetime) -> tuple[int, int]:
        rows = await asyncio.to_thread(self.lake.fields, snapshot, self.zone)
        standing, refused = field.told(rows)
        closed, opened = field.changes(await self.store.references.all_known_now(tx), standing)
        await self.store.references.learn(tx, closed, opened, now)
        await self.store.references.refuse(tx, refused)
        return len(standing), len(refused)
