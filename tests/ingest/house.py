"""Ingest put together in this process: a landing folder, a lake, a real Postgres, and time that can be moved."""

import asyncio
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import text

from services.ingest import store, usecases
from services.ingest.api import IngestApi, Supplying
from services.ingest.domain.age import Ages
from services.ingest.domain.delivery import Delivery
from services.ingest.domain.identity import VaultKeys
from services.ingest.lake.files import Files
from services.ingest.lake.landing import Landing
from services.ingest.lake.parquet import Lake
from services.ingest.store.erasures import Erasures
from services.ingest.store.layers import Layers
from services.ingest.usecases.erasure import ERASE
from services.ingest.usecases.identities import ROTATE
from services.ingest.usecases.intake import LOAD, Patience
from services.ingest.usecases.upkeep import COMPACT, LAND, ROLL_OFF
from services.kit import jobs, outbox
from services.kit.db import Database
from services.kit.domains import Known
from services.kit.ids import system_ids
from tests.ingest.made import FEEDS, ZONE, drop

KEYS = VaultKeys(1, b"t" * 32, b"v" * 32)
BUCKETS = 4
AGES = Ages(grace=timedelta())
PATIENCE = Patience(control=timedelta(seconds=20), settle=timedelta(seconds=2))


@dataclass
class House:
    """The use cases over one database; `ahead` moves the clock against that of the files."""

    db: Database
    root: Path
    ahead: timedelta = timedelta()
    keys: VaultKeys = KEYS

    def __post_init__(self) -> None:
        self.landing = self.root / "landing"
        self.lake = Lake(Files((self.root / "lake").as_uri()), BUCKETS)
        self.files = Landing(self.landing)
        deliveries, feeds, events, identities = (
            store.Deliveries(),
            store.Feeds(),
            store.Events(),
            store.Identities(),
        )
        self.feeds = usecases.Feeds(self.db, feeds, self.clock)
        self.deliveries = usecases.Deliveries(self.db, deliveries, feeds)
        self.event_store, self.ids, layers, erasures = events, system_ids, Layers(), Erasures()
        self.layer_store = layers
        self.writer = usecases.Writer(self.db, events, self.keys, self.clock, system_ids)
        self.events = usecases.Events(self.db, events, layers, self.writer, self.clock)
        self.identities = usecases.Identities(self.db, identities, events, self.keys, self.clock, system_ids)
        self.upkeep = usecases.Upkeep(
            self.db,
            layers,
            deliveries,
            feeds,
            identities,
            self.lake,
            self.landing,
            self.keys,
            AGES,
            self.clock,
            system_ids,
        )
        self.layers = usecases.Layers(self.db, layers, deliveries, feeds, self.lake.files, self.clock, system_ids)
        self.asking = usecases.Asking(self.db, erasures, identities, events, self.keys, self.clock, system_ids)
        self.erasing = usecases.Erasing(
            self.db, erasures, self.lake, self.landing, self.keys, self.upkeep.collect, self.clock
        )
        self.intake = usecases.Intake(self.db, deliveries, feeds, self.files, PATIENCE, self.clock, system_ids)
        self.supply = usecases.Supply(self.db, feeds, store.Alarms(), ZONE, self.clock, system_ids)
        self.uploads = usecases.Uploads(self.db, store.Uploads(), feeds, self.files, self.clock, system_ids)
        self.replays = usecases.Replays(self.db, deliveries, feeds, self.files, self.keys, self.clock, system_ids)
        self.collecting = usecases.Collecting(self.db, store.Uploads(), feeds, self.files, self.clock, system_ids)
        self.editing = usecases.Editing(
            self.db, deliveries, feeds, layers, self.files, self.lake, ZONE, self.clock, system_ids
        )
        self.work_cases = usecases.Work(self.db, self.clock)
        self.load = usecases.Load(
            self.db, deliveries, feeds, identities, events, self.files, self.lake, self.keys, ZONE, self.clock
        )

    def api(self) -> IngestApi:
        """The servicer over these use cases."""
        supplying = Supplying(self.supply, self.uploads, self.replays, self.work_cases)
        return IngestApi(
            self.feeds,
            self.deliveries,
            self.events,
            self.identities,
            supplying,
            self.lake.uri,
            asyncio.Event(),
            erasures=self.asking,
            layers=self.layers,
            upkeep=self.upkeep,
            editing=self.editing,
            known=Known(),
        )

    def clock(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def ship(self) -> None:
        """Register the shipped feeds."""
        await self.feeds.ship([path.read_text(encoding="utf-8") for path in sorted(FEEDS.glob("*.yaml"))])

    async def settle(self) -> None:
        """Sweep once, and load until nothing waits."""
        await self.intake.sweep()
        await self.work()

    async def work(self) -> None:
        """Run the jobs that wait."""
        await self.upkeep.restore()
        stop = asyncio.Event()
        working = asyncio.create_task(
            jobs.work(self.db, self.handlers(), owner="t", clock=self.clock, stop=stop, poll=0.01, at_once=2)
        )
        try:
            while await self.value("SELECT count(*) FROM job WHERE state IN ('QUEUED', 'RUNNING')"):
                assert not working.done()
                await asyncio.sleep(0.01)
        finally:
            stop.set()
            await working
        await self.intake.tidy()  # a load that is stopped after its commit leaves the file to the next process

    def handlers(self) -> dict[str, jobs.Handler]:
        """All jobs."""
        return {
            LOAD: self.load.load,
            LAND: self.upkeep.land,
            ROLL_OFF: self.upkeep.roll_off,
            COMPACT: self.upkeep.compact,
            ERASE: self.erasing.erase,
            ROTATE: self.identities.rotate,
        }

    async def land(self) -> None:
        """Write the landed files of what is loaded."""
        for (delivery_id,) in await self.rows("SELECT delivery_id FROM delivery WHERE state = 'LOADED'"):
            async with self.db.begin() as tx:
                await self.upkeep.loaded(tx, outbox.Event("", "", delivery_id, {}, self.clock(), ""))
                await tx.commit()
        await self.work()

    async def deliver(self, name: str, data: bytes | str, control: bytes | None = None) -> Delivery:
        """Drop a file, settle, and give what became of it."""
        drop(self.landing, name, data.encode("gb18030") if isinstance(data, str) else data, control)
        await self.settle()
        return await self.latest(name)

    async def latest(self, name: str) -> Delivery:
        """The latest delivery of a file name."""
        found = await self.deliveries.page(feed_id="", state=None, file_name=name, before=None, size=1)
        return found[0]

    async def value(self, statement: str, **params: Any) -> Any:
        """One value."""
        async with self.db.read() as read:
            return await read.value(text(statement), params)

    async def rows(self, statement: str, **params: Any) -> list[tuple[Any, ...]]:
        """Rows as tuples."""
        async with self.db.read() as read:
            return [tuple(row) for row in await read.rows(text(statement), params)]

    async def snapshot(self, feed_id: str) -> pl.DataFrame:
        """The rows of a feed's snapshot, by delivery and line."""
        found = await self.deliveries.snapshot(feed_id, None, None)
        frames = [pl.read_parquet(self.root / "lake" / file.path) for file in found.files]
        assert [frame.height for frame in frames] == [file.rows for file in found.files]
        return pl.concat(frames).sort("line") if frames else pl.DataFrame()

    def waiting(self) -> list[str]:
        """What lies in the landing folder."""
        return sorted(name for name in os.listdir(self.landing) if not name.startswith("."))


_TABLES = (
    "alarm", "upload", "collected", "lake_part", "lake_file", "lake_garbage", "lake_lease", "ods_file", "reject",
    "customer", "event", "event_key", "event_arrival", "event_reject", "event_follower", "event_rolled",
    "broker_position", "disclosure", "erasure", "merge", "delivery", "vault",
)  # fmt: skip
_KIT_TABLES = ("job", "outbox", "request", "consumer_cursor")


async def wipe(db: Database) -> None:
    """Empty the tables, but for the shipped feeds."""
    async with db.begin() as tx:
        for name in (*_TABLES, *_KIT_TABLES):
            await tx.execute(text(f"DELETE FROM {name}"))
        await tx.execute(text("DELETE FROM feed WHERE shipped = ''"))
        await tx.commit()
