"""Inbound time: points follows ingest's events and reference feeds, and tries again what waits in suspense."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from services.kit import cursors, jobs, telemetry
from services.kit.clock import Clock
from services.kit.cursors import Followed
from services.kit.db import Database
from services.kit.waiting import pause
from services.points.domain.event import Event
from services.points.domain.reference import Snapshot
from services.points.usecases import Learning, Periods, Prepared, Scoring

_RETRY_SECONDS = 0.3


class Ingest(Protocol):
    """What the worker follows."""

    def events(self, cursor: str) -> AsyncIterator[Followed[list[Event]]]:
        """Business events in batches."""

    def snapshots(self, cursor: str) -> AsyncIterator[Followed[Snapshot]]:
        """Snapshots of the reference feeds."""


@dataclass(frozen=True)
class Worker:
    """The background work of one process; `owner` is unique to it."""

    db: Database
    ingest: Ingest
    learning: Learning
    scoring: Scoring
    owner: str
    lease_seconds: float
    periods: Periods
    clock: Clock

    async def follow_reference(self, stop: asyncio.Event) -> None:
        """Keep the projections of the reference feeds."""
        await cursors.follow(
            self.db, consumer="reference", owner=self.owner, watch=self._prepared, handle=self.learning.take,
            stop=stop, lease_seconds=self.lease_seconds,
        )  # fmt: skip

    async def follow_events(self, stop: asyncio.Event) -> None:
        """Score business events as they come."""
        await cursors.follow(
            self.db, consumer="events", owner=self.owner, watch=self.ingest.events, handle=self.scoring.take,
            stop=stop, lease_seconds=self.lease_seconds,
        )  # fmt: skip

    async def _prepared(self, cursor: str) -> AsyncIterator[Followed[Prepared]]:
        """Snapshots with their rows: the files are read between the consumer's transactions, never in one."""
        async for item in self.ingest.snapshots(cursor):
            prepared = None if item.event is None else await self.learning.prepare(item.event)
            yield Followed(item.cursor, prepared, item.traceparent)

    async def run_jobs(self, stop: asyncio.Event) -> None:
        """Calculate periods, recalculate months, post differences."""
        handlers = {"calculate": self.periods.calculate, "recalculate": self.periods.recalculate,
                    "post": self.periods.post}  # fmt: skip
        await jobs.work(self.db, handlers, owner=self.owner, clock=self.clock, stop=stop,
                        lease_seconds=self.lease_seconds)  # fmt: skip

    async def retry_suspended(self, stop: asyncio.Event) -> None:
        """Try suspended events again after something was learned, until none is due."""
        while not stop.is_set():
            with telemetry.span("retry suspended"):
                tried = await self.scoring.retry()
            await pause(0 if tried else _RETRY_SECONDS, stop)
