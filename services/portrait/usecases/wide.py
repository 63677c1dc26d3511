"""The wide table: every item of the feature catalogue for every customer of a run, as a job that resumes."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import pyarrow as pa

from services.kit import jobs
from services.kit.clock import Clock
from services.kit.db import Database, Read
from services.kit.ids import Ids
from services.kit.jobs import Running
from services.portrait.domain.detail import LINES
from services.portrait.domain.readiness import Delivery, Inputs
from services.portrait.domain.run import LakeFile, Run
from services.portrait.domain.wide import Item
from services.portrait.lake import Lake
from services.portrait.lake import whole as lake
from services.portrait.refusals import run_not_found
from services.portrait.store.planning import Planning
from services.portrait.store.runs import Runs

WIDE = "wide"
_OF_RUN = frozenset({"dwell", "customers", "bills", "anchors"})
"""Sources that a run has already; the others are feeds of ingest."""

Snapshot = Callable[[str, Inputs], Awaitable[list[LakeFile]]]


class WideTables:
    """One wide table for each run and what was known of its feeds; a later one takes the place of an earlier one."""

    def __init__(
        self,
        db: Database,
        runs: Runs,
        planning: Planning,
        snapshot: Snapshot,
        target: Lake,
        items: Sequence[Item],
        zone: str,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._db = db
        self._runs = runs
        self._planning = planning
        self._snapshot = snapshot
        self._lake = target
        self._items = items
        self._zone = zone
        self._clock = clock
        self._ids = ids

    async def plan(self) -> None:
        """Queue the wide table of the current run, unless it stands or is under way."""
        async with self._db.begin() as tx:
            found = await self._runs.current(tx)
            if found is None:
                return
            run, known = found[1], await self._planning.deliveries(tx)
            spec = {"run_id": run.run_id, "deliveries": self._deliveries(run, known)}
            told = json.dumps(spec, sort_keys=True).encode()
            if not spec["deliveries"] or await self._under_way(tx, run.run_id):
                return
            key = f"{run.run_id}#{hashlib.sha256(told).hexdigest()[:20]}"
            await jobs.create(tx, job_id=self._ids(), kind=WIDE, key=key, spec=spec, now=self._clock())
            await tx.commit()

    async def build(self, running: Running) -> None:
        """Build a wide table, some buckets at a time; what an earlier attempt wrote is not built again."""
        spec = running.job.spec
        async with self._db.read() as read:
            found = await self._runs.by_id(read, spec["run_id"])
            if found is None:
                raise run_not_found(spec["run_id"])
            run_no, run = found
            tables = {kind: await self._runs.files(read, run_no, kind) for kind in ("features", "dwell")}
        inputs = Inputs(run.from_date, run.to_date, {feed: tuple(ids) for feed, ids in spec["deliveries"].items()})
        feeds = await self._feeds(inputs)
        path = f"portrait/wide/run={run.run_id}/{running.job.key.partition('#')[2]}"
        peers = await self._peers(running, feeds, run, path)
        kept: dict[str, Any] = dict(running.job.checkpoint.get("buckets", {}))
        buckets = sorted(file.bucket for file in tables["features"])
        left = {bucket: _of_bucket(tables, bucket) for bucket in buckets if str(bucket) not in kept}
        for some in lake.groups_of(feeds, left):
            kept |= await asyncio.to_thread(self._built, feeds, some, run, peers, path)
            await running.save({**running.job.checkpoint, "buckets": kept})
            await running.progress(len(kept), len(buckets), message="counting features")
        files = [_file(kept[str(bucket)], bucket) for bucket in buckets]
        async with self._db.begin() as tx:
            await self._runs.replace_files(tx, run_no, WIDE, files)
            columns = max((each[3] for each in kept.values()), default=0)
            await running.succeed(tx, customers=sum(file.rows for file in files), columns=columns)
            await tx.commit()

    def _built(
        self, feeds: Mapping[str, list[LakeFile]], some: Mapping[int, lake.Tables], run: Run, peers: Any, path: str
    ) -> dict[str, Any]:
        """Some buckets, written; as a checkpoint keeps them."""
        built = {}
        for bucket, table in lake.wide_of(self._items, feeds, some, run.to_date, self._zone, peers).items():
            file = self._lake.write(f"{path}/bucket={bucket:02d}.parquet", table, bucket)
            built[str(bucket)] = [file.uri, file.rows, file.sha256, table.num_columns]
        return built

    def _deliveries(self, run: Run, known: Sequence[Delivery]) -> dict[str, list[str]]:
        """The deliveries of the feeds that items are counted of, as far back as they look."""
        days = {item.source: 0 for item in self._items if item.kind and item.source not in _OF_RUN}
        for item in self._items:
            if item.source in days:
                days[item.source] = max(days[item.source], item.days)
        days |= dict.fromkeys(LINES, 365)
        chosen: dict[str, list[str]] = {}
        for each in sorted(known, key=lambda each: (each.feed_id, each.period, each.sequence)):
            first = run.to_date - timedelta(days=days.get(each.feed_id, 0))
            if each.feed_id in days and each.loaded_rows and first <= each.period <= run.to_date:
                chosen.setdefault(each.feed_id, []).append(each.delivery_id)
        return chosen

    async def _under_way(self, read: Read, run_id: str) -> bool:
        latest = await jobs.page(read, kind=WIDE, size=20)
        active = (jobs.State.QUEUED, jobs.State.RUNNING)
        return any(job.state in active and job.spec["run_id"] == run_id for job in latest)

    async def _feeds(self, inputs: Inputs) -> Mapping[str, list[LakeFile]]:
        """The files of the planned deliveries that are still in force."""
        found = {}
        for feed, ids in inputs.deliveries.items():
            files = await self._snapshot(feed, inputs)
            found[feed] = [file for file in files if file.deliveries & set(ids)]
        return found

    async def _peers(
        self, running: Running, feeds: Mapping[str, list[LakeFile]], run: Run, path: str
    ) -> pa.Table | None:
        """What is known of called numbers over all customers, counted once."""
        if not feeds.get("call_details"):
            return None
        kept = running.job.checkpoint.get("peers")
        if kept is None:
            await running.progress(0, 1, message="counting who is called by how many")
            first: date = run.to_date - timedelta(days=30)
            table = await asyncio.to_thread(lake.called, feeds, first)
            file = await asyncio.to_thread(self._lake.write, f"{path}/peers.parquet", table, -1)
            kept = [file.uri, file.rows, file.sha256]
            await running.save({**running.job.checkpoint, "peers": kept})
        return await asyncio.to_thread(lake.read_peers, _file(kept, -1))


def _of_bucket(tables: Mapping[str, Sequence[LakeFile]], bucket: int) -> lake.Tables:
    return {kind: next(file for file in files if file.bucket == bucket) for kind, files in tables.items()}


def _file(kept: Sequence[Any], bucket: int) -> LakeFile:
    return LakeFile(str(kept[0]), int(kept[1]), str(kept[2]), bucket)
