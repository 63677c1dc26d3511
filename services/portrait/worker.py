"""Inbound time: deliveries are followed, jobs are run, what nobody reads any more is dropped."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from services.kit import cursors, jobs
from services.kit.clock import Clock
from services.kit.cursors import Followed
from services.kit.db import Database
from services.kit.waiting import pause
from services.portrait.domain import track
from services.portrait.domain.readiness import Delivery
from services.portrait.usecases import KIND, Computing, Plans

_CONSUMER = "ingest.deliveries"
_TIDY_SECONDS = 60.0


@dataclass(frozen=True)
class Worker:
    """The background work of one process; `owner` names it in leases."""

    db: Database
    plans: Plans
    computing: Computing
    watch: Callable[[str], AsyncIterator[Followed[Delivery]]]
    owner: str
    clock: Clock

    async def follow_deliveries(self, stop: asyncio.Event) -> None:
        """Learn of every delivery that ingest loaded, and plan what it makes due."""
        await cursors.follow(
            self.db, consumer=_CONSUMER, owner=self.owner, watch=self.watch, handle=self.plans.learn, stop=stop
        )

    async def run_jobs(self, stop: asyncio.Event) -> None:
        """Run jobs, one at a time: a run uses all cores by itself. Kernels are compiled while nothing waits yet."""
        await asyncio.to_thread(track.warm)
        await jobs.work(
            self.db, {KIND: self.computing.compute}, owner=self.owner, clock=self.clock, stop=stop, at_once=1
        )

    async def tidy(self, stop: asyncio.Event) -> None:
        """Drop rows of old runs every minute."""
        while not stop.is_set():
            await self.computing.tidy()
            await pause(_TIDY_SECONDS, stop)
