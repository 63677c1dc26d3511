"""Upkeep of the stores as jobs: the landed layer is written, small files are put together, what is too old goes.

A file that a manifest named is never pulled from under a reader: what replaces it is committed first, and the old one
is removed when the grace is over and no lease is left that was taken before.
"""

import asyncio
import itertools
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path

import structlog

from services.ingest import store
from services.ingest.domain.age import Ages
from services.ingest.domain.delivery import LakeFile
from services.ingest.domain.feed import Revision
from services.ingest.domain.identity import VaultKeys
from services.ingest.lake import compaction, landed
from services.ingest.lake.parquet import Lake
from services.ingest.store.layers import Layers, Small
from services.ingest.usecases import numbers
from services.kit import idempotency, jobs, outbox
from services.kit.clock import Clock
from services.kit.db import Database, Write
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids

LAND = "land"
ROLL_OFF = "roll_off"
COMPACT = "compact"

_STATEMENT_SECONDS = 120.0
_MONTHS_AHEAD = 2

_log = structlog.get_logger(__name__)


class Upkeep:
    """The jobs and their schedule."""

    def __init__(
        self,
        db: Database,
        layers: Layers,
        deliveries: store.Deliveries,
        feeds: store.Feeds,
        identities: store.Identities,
        lake: Lake,
        landing: Path,
        keys: VaultKeys,
        ages: Ages,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._db = db
        self._layers = layers
        self._deliveries = deliveries
        self._feeds = feeds
        self._identities = identities
        self._lake = lake
        self._landing = landing
        self._keys = keys
        self._ages = ages
        self._clock = clock
        self._ids = ids

    async def start(self, kind: str, request: RequestKey) -> str:
        """Make a job of a kind; gives its id."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, request)
            if earlier is not None:
                return str(earlier["job_id"])
            job_id = self._ids()
            await jobs.create(tx, job_id=job_id, kind=kind, key=job_id, spec={}, now=self._clock())
            await idempotency.answer(tx, request, {"job_id": job_id})
            await tx.commit()
        return job_id

    async def schedule(self, kinds: Sequence[str]) -> None:
        """Make today's jobs, if nobody made them before."""
        now = self._clock()
        async with self._db.begin() as tx:
            for kind in kinds:
                await jobs.create(tx, job_id=self._ids(), kind=kind, key=f"{now:%Y-%m-%d}", spec={}, now=now)
            await tx.commit()

    async def loaded(self, tx: Write, fact: outbox.Event) -> None:
        """A delivery was loaded: its landed layer is due."""
        spec = {"delivery_id": fact.key}
        await jobs.create(tx, job_id=self._ids(), kind=LAND, key=fact.key, spec=spec, now=self._clock())

    async def land(self, running: jobs.Running) -> None:
        """The handler of `land`: write the landed file of a delivery from the operator's file in the archive."""
        delivery_id = running.job.spec["delivery_id"]
        async with self._db.read() as read:
            delivery = await self._deliveries.get(read, delivery_id)
            assert delivery is not None, "a delivery is never removed"
            revision = await self._feeds.revision(read, delivery.feed_id, delivery.revision)
        assert revision is not None, "a revision is never removed"
        loop = asyncio.get_running_loop()

        def known(part: Sequence[str]) -> dict[str, int]:
            return asyncio.run_coroutine_threadsafe(self._known(part), loop).result()

        try:
            blocks = landed.archived(self._landing, delivery)
            file = await asyncio.to_thread(landed.write, self._lake.files, revision.feed, delivery, blocks, known)
        except FileNotFoundError:
            file = None
        async with self._db.begin() as tx:
            if file is not None:
                await self._layers.add_landed(tx, file)
            await running.succeed(tx, message="" if file else "nothing to land", rows=file.rows if file else 0)
            await tx.commit()

    async def _known(self, part: Sequence[str]) -> dict[str, int]:
        async with self._db.read() as read:
            return await numbers.known(read, self._identities, self._keys, part)

    async def roll_off(self, running: jobs.Running) -> None:
        """The handler of `roll_off`."""
        now = self._clock()
        rolled = 0
        for revision in await self._all_feeds():
            days = revision.feed.retention_days
            if days is None:
                continue
            async with self._db.begin(statement_seconds=_STATEMENT_SECONDS) as tx:
                before = now.date() - timedelta(days=days)
                rolled += await self._layers.roll_off(tx, revision.feed.feed_id, before, now)
                await tx.commit()
        months = await self._roll_months(now)
        removed = await self.collect(now)
        async with self._db.begin() as tx:
            await running.succeed(tx, files=rolled, months=months, left=removed)
            await tx.commit()
        _log.info("rolled_off", files=rolled, months=months)

    async def _all_feeds(self) -> list[Revision]:
        async with self._db.read() as read:
            return await self._feeds.all_in_force(read)

    async def _roll_months(self, now: datetime) -> int:
        first = now.date().replace(day=1)
        ahead = [_later(first, number) for number in range(_MONTHS_AHEAD + 1)]
        async with self._db.begin() as tx:
            await self._layers.make_months(tx, ahead)
            old = await self._layers.months(tx, now - timedelta(days=self._ages.event_days))
            slowest = await self._layers.slowest(tx, now - timedelta(days=self._ages.follower_days))
            await tx.commit()
        dropped = 0
        for month in old:
            async with self._db.begin() as tx:
                last = await self._layers.last_of_month(tx, month)
                if last is not None and slowest is not None and slowest < last:
                    _log.warning("month_held_back", month=month)
                    break
                await self._layers.drop_month(tx, month, last)
                await tx.commit()
            dropped += 1
        return dropped

    async def collect(self, now: datetime) -> int:
        """Remove replaced files that no reader can hold any more; gives how many are left."""
        async with self._db.read() as read:
            paths = await self._layers.garbage(read, replaced_before=now - self._ages.grace, now=now)
        for path in paths:
            await asyncio.to_thread(self._lake.files.remove, path)
        async with self._db.begin() as tx:
            await self._layers.drop_garbage(tx, paths, now)
            left = await self._layers.garbage_left(tx)
            await tx.commit()
        return left

    async def compact(self, running: jobs.Running) -> None:
        """The handler of `compact`: group by group, each committed by itself."""
        now = self._clock()
        async with self._db.read() as read:
            before = now.date() - timedelta(days=self._ages.compact_days)
            small = await self._layers.small(read, before, self._ages.compact_rows)
        groups = [list(group) for _, group in itertools.groupby(small, lambda e: (e.feed_id, e.period, e.bucket))]
        made = 0
        for number, group in enumerate(groups, 1):
            made += await self._compact(running.job.job_id, number, group)
            await running.progress(number, len(groups), made=made)
        async with self._db.begin() as tx:
            await running.succeed(tx, files=sum(map(len, groups)), made=made)
            await tx.commit()

    async def _compact(self, job_id: str, number: int, group: Sequence[Small]) -> bool:
        folder = group[0].path.rpartition("/")[0]
        to = f"{folder}/c{job_id[-12:]}-{number:04d}.parquet"
        paths = [each.path for each in group]
        file = await asyncio.to_thread(compaction.together, self._lake.files, paths, to)
        last = group[-1]
        new = LakeFile(file.path, file.rows, file.sha256, last.period, last.bucket, last.delivery_id)
        async with self._db.begin() as tx:
            done = await self._layers.compact(tx, new, group, self._clock())
            if done:
                await tx.commit()
        if not done:
            await asyncio.to_thread(self._lake.files.remove, to)
        return done

    async def restore(self) -> int:
        """Take compacted files apart of which a delivery is about to be superseded; gives how many."""
        async with self._db.read() as read:
            disputed = await self._layers.disputed(read)
            parts = await self._layers.parts(read, [row.path for row in disputed])
        for row in disputed:
            files = []
            for part in parts[row.path]:
                to = f"{row.path.rpartition('/')[0]}/{part.delivery_id}.r{self._ids()[-8:]}.parquet"
                made = await asyncio.to_thread(
                    compaction.apart, self._lake.files, row.path, part.first_row, part.rows, to
                )
                files.append(LakeFile(to, made.rows, made.sha256, row.period, row.bucket, part.delivery_id))
            async with self._db.begin() as tx:
                await self._layers.take_apart(tx, row.path, files, row.feed_id, self._clock())
                await tx.commit()
        return len(disputed)


def _later(month: date, number: int) -> date:
    """The first day of the month so many months later."""
    count = month.year * 12 + month.month - 1 + number
    return date(count // 12, count % 12 + 1, 1)
