"""Segments: the job that clusters a run's customers by brand, and what is told of what it found."""

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np

from services.kit import idempotency, jobs
from services.kit.clock import Clock
from services.kit.db import Database, Write
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids
from services.kit.jobs import Job, Running, State
from services.portrait.domain import segment
from services.portrait.domain.readiness import Inputs
from services.portrait.domain.run import LakeFile, Run
from services.portrait.lake import segments as lake
from services.portrait.refusals import run_not_found, segment_not_found, segmentation_unfit
from services.portrait.store import Runs
from services.portrait.store.segments import Segmentation, Segments
from services.portrait.usecases.inputs import Snapshot

SEGMENT = "segment"
FEATURES = (
    "arpu_3m_avg", "arpu_slope_6m", "mou_1m", "sms_mo_1m", "dou_mb_1m", "age", "tenure_months", "places",
)  # fmt: skip
WHERE_KNOWN = ("mou_roam_share", "product_music")
"""Stat columns that are clustered, too, where their feeds were delivered and nothing else was asked for: roaming, and
ring-back tones or music."""
TABLES = ("features", "stats", "wide")
"""Tables of a run whose columns can be clustered; of a name that several have the first one's."""
_SEED = 20_260_901
_FEWEST = 30
_PROFILED = 12
_STATEMENT_SECONDS = 300.0


class SegmentDesk:
    """What callers ask of segments."""

    def __init__(self, db: Database, segments: Segments, runs: Runs, clock: Clock, ids: Ids) -> None:
        self._db = db
        self._segments = segments
        self._runs = runs
        self._clock = clock
        self._ids = ids

    async def create(self, run_id: str, asked: Mapping[str, int], features: Sequence[str], key: RequestKey) -> Job:
        """Queue a clustering; the same run, numbers and features are the same job. Raises run_not_found."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await jobs.get(tx, earlier["job_id"])
            found = await (self._runs.by_id(tx, run_id) if run_id else self._runs.current(tx))
            if found is None:
                raise run_not_found(run_id)
            spec = {"run_id": found[1].run_id, "asked": dict(sorted(asked.items())), "features": list(features)}
            job = await queued(tx, SEGMENT, spec, self._ids(), self._clock())
            await idempotency.answer(tx, key, {"job_id": job.job_id})
            await tx.commit()
        return job

    async def get(self, segmentation_id: str) -> Segmentation:
        """A segmentation with the names given by hand, "" the latest. Raises segment_not_found."""
        async with self._db.read() as read:
            found = await self._segments.get(read, segmentation_id)
            if found is None:
                raise segment_not_found(segmentation_id)
            return _named(found, await self._segments.names(read))

    async def page(self, after: str, size: int) -> list[Segmentation]:
        """Segmentations, the latest first."""
        async with self._db.read() as read:
            return await self._segments.page(read, after, size)

    async def rename(self, segment_id: str, name: str, author: str, key: RequestKey) -> Mapping[str, Any]:
        """Give a segment of the latest segmentation a name; gives the segment. Raises segment_not_found."""
        async with self._db.begin() as tx:
            await idempotency.remember(tx, key)
            latest = await self._segments.get(tx, "")
            mine = [each for each in latest.segments if each["segment_id"] == segment_id] if latest else []
            if not mine:
                raise segment_not_found(segment_id)
            await self._segments.name(tx, segment_id, name, author, self._clock())
            await idempotency.answer(tx, key, {"segment_id": segment_id})
            await tx.commit()
        return {**mine[0], "name": name}

    async def members(self, segmentation_id: str, segment_id: str, after: int, size: int) -> tuple[list[int], str]:
        """A page of customer keys that the caller may see, and the segmentation. Raises segment_not_found."""
        found = await self.get(segmentation_id)
        if segment_id not in {each["segment_id"] for each in found.segments}:
            raise segment_not_found(segment_id)
        async with self._db.read() as read:
            keys = await self._segments.members(read, found.segmentation_id, segment_id, after, size)
        return keys, found.segmentation_id

    async def opportunities(
        self, segmentation_id: str, brand: str, skip: int, size: int
    ) -> tuple[list[Mapping[str, Any]], str]:
        """A page of segment × service, the largest gap first, and the segmentation. Raises segment_not_found."""
        found = await self.get(segmentation_id)
        mine = [each for each in found.opportunities if brand in ("", each["brand"])]
        return mine[skip : skip + size], found.segmentation_id


class Clustering:
    """The job."""

    def __init__(self, db: Database, segments: Segments, runs: Runs, snapshot: Snapshot, clock: Clock) -> None:
        self._db = db
        self._segments = segments
        self._runs = runs
        self._snapshot = snapshot
        self._clock = clock

    async def cluster(self, running: Running) -> None:
        """Cluster, match with the one before, publish; any attempt ends the same. Raises segmentation_unfit."""
        spec = running.job.spec
        async with self._db.read() as read:
            found = await self._runs.by_id(read, spec["run_id"])
            if found is None:
                raise run_not_found(spec["run_id"])
            run, files = found[1], [await self._runs.files(read, found[0], table) for table in TABLES]
            before = running.job.checkpoint.get("before")
            if before is None:
                before = await self._segments.before(read)
            earlier = await self._segments.all_members(read, before) if before else {}
            used = await self._segments.used_ids(read)
        await running.save({"before": before})
        await running.progress(0, 3, message="reading")
        inputs = Inputs(run.from_date, run.to_date, {})
        feeds = dict(zip(lake.FEEDS, await asyncio.gather(*(self._snapshot(each, inputs) for each in lake.FEEDS)),
                         strict=True))  # fmt: skip
        wide, features = await asyncio.to_thread(_columns, files, spec["features"])
        market = await asyncio.to_thread(lake.read_market, feeds, wide.customer_key, run.from_date, run.to_date)
        await running.progress(1, 3, message="clustering")
        work = _Brands(wide, market, features, spec["asked"], earlier, used)
        await asyncio.to_thread(work.all)
        await running.progress(2, 3, message="publishing", customers=len(work.members))
        await self._publish(running, run, work)

    async def _publish(self, running: Running, run: Run, work: "_Brands") -> None:
        made = Segmentation(
            running.job.job_id, run.run_id, run.to_date, work.features, work.brands, work.segments,
            sorted(work.opportunities, key=lambda each: -each["customers"]), self._clock(),
        )  # fmt: skip
        async with self._db.begin(statement_seconds=_STATEMENT_SECONDS) as tx:
            await self._segments.put(tx, made, work.members, lambda told: json.dumps(told, ensure_ascii=False))
            await running.succeed(tx, customers=len(work.members), segments=len(work.segments))
            await tx.commit()


class _Brands:
    """Brand after brand."""

    def __init__(
        self,
        wide: lake.Wide,
        market: lake.Market,
        features: Sequence[str],
        asked: Mapping[str, int],
        earlier: Mapping[int, str],
        used: Sequence[str],
    ) -> None:
        unknown = sorted(set(features) - set(wide.names))
        if unknown:
            raise segmentation_unfit(f"no such feature: {', '.join(unknown)}")
        self.features = list(features)
        self._wide, self._market, self._asked, self._used = wide, market, asked, used
        self._earlier = np.array([earlier.get(int(key), "") for key in wide.customer_key], dtype=np.str_)
        self.brands: list[dict[str, Any]] = []
        self.segments: list[dict[str, Any]] = []
        self.opportunities: list[dict[str, Any]] = []
        self.members: list[tuple[int, str, str]] = []

    def all(self) -> None:
        """Every brand with at least 30 customers. Raises segmentation_unfit when there is none."""
        brands, count = np.unique(self._market.brand, return_counts=True)
        for brand, customers in zip(brands.tolist(), count.tolist(), strict=True):
            if brand and customers >= _FEWEST:
                self._brand(brand, np.flatnonzero(self._market.brand == brand))
        if not self.brands:
            raise segmentation_unfit(f"no brand has {_FEWEST} customers")

    def _brand(self, brand: str, rows: Any) -> None:
        values = self._wide.of(self.features)[rows]
        points = segment.prepared(values)
        asked = self._asked.get(brand)
        found = segment.clustered(points, asked, _SEED)
        count = len(found.centre)
        told = segment.matched(found.label, count, self._earlier[rows], brand, self._used)
        self._tell(brand, rows, values, found, told)
        known = self._earlier[rows] != ""
        ids = np.array(told.segment_id)[found.label]
        stable = segment.adjusted_rand(ids[known], self._earlier[rows][known]) if known.any() else 1.0
        whole = segment.holdings(np.zeros(len(rows), dtype=np.int64), 1, *self._services(rows))[0]
        self.brands.append({
            "brand": brand, "customers": len(rows), "segments": count, "silhouette": found.silhouette,
            "stability": stable, "asked": asked is not None, "penetration": [self._service(each) for each in whole],
        })  # fmt: skip
        keys, orgs = self._wide.customer_key[rows].tolist(), self._wide.org_id[rows].tolist()
        self.members += list(zip(keys, orgs, ids.tolist(), strict=True))

    def _tell(self, brand: str, rows: Any, values: Any, found: segment.Clusters, told: segment.Matched) -> None:
        count, size = len(found.centre), np.bincount(found.label, minlength=len(found.centre))
        names = segment.names(self.features, found.centre)
        profiles = segment.profiles(self._wide.names, self._wide.values[rows], found.label, count)
        services = segment.holdings(found.label, count, *self._services(rows))
        contents = segment.contents(found.label, count, self._market.use[rows])
        for number in range(count):
            turned = [{"category": name, "share": float(contents[number, place])}
                      for place, name in enumerate(self._market.contents)]  # fmt: skip
            self.segments.append({
                "segment_id": told.segment_id[number], "brand": brand, "name": names[number],
                "customers": int(size[number]), "share": float(size[number] / len(rows)),
                "kept": told.kept[number],
                "profile": [asdict(each) for each in profiles[number][:_PROFILED]],
                "services": [self._service(each) for each in services[number]],
                "contents": sorted(turned, key=lambda each: -float(each["share"])),
            })  # fmt: skip
        for gap in segment.gaps(found.label, self._market.held[rows], found.centre):
            product_id, product_name = self._market.services[gap.service]
            self.opportunities.append({
                "segment_id": told.segment_id[gap.segment], "segment_name": names[gap.segment], "brand": brand,
                "product_id": product_id, "product_name": product_name, "penetration": gap.penetration,
                "reference": gap.reference, "gap": gap.reference - gap.penetration, "customers": gap.customers,
            })  # fmt: skip

    def _services(self, rows: Any) -> tuple[Any, Any, Any, Any]:
        market = self._market
        return market.held[rows], market.uses[rows], market.asked[rows], market.aware[rows]

    def _service(self, one: segment.Holding) -> dict[str, Any]:
        product_id, name = self._market.services[one.service]
        return {"product_id": product_id, "name": name, "penetration": one.penetration, "usage": one.usage,
                "awareness": one.awareness, "asked": one.asked}  # fmt: skip


def _columns(files: Sequence[Sequence[LakeFile]], asked: Sequence[str]) -> tuple[lake.Wide, list[str]]:
    """The run's tables beside each other as far as they are asked for, and what is clustered."""
    wide = lake.read_wide(files[0])
    for each in files[1:]:
        wide = lake.beside(wide, each, asked or WHERE_KNOWN)
    if asked:
        return wide, list(asked)
    known = [name for name in WHERE_KNOWN if name in wide.names and not np.isnan(wide.of([name])).all()]
    return wide, [*FEATURES, *known]


async def queued(tx: Write, kind: str, spec: Mapping[str, Any], job_id: str, now: datetime) -> Job:
    """The job of a spec, a new one (`job_id`) the first time, and after one that failed or was cancelled."""
    digest, attempt = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:32], 1
    while True:
        key = digest if attempt == 1 else f"{digest}#{attempt}"
        job = await jobs.create(tx, job_id=job_id, kind=kind, key=key, spec=spec, now=now)
        if job.state not in (State.FAILED, State.CANCELLED):
            return job
        attempt += 1


def _named(found: Segmentation, names: Mapping[str, str]) -> Segmentation:
    segments = [{**each, "name": names.get(each["segment_id"], each["name"])} for each in found.segments]
    gaps = [
        {**each, "segment_name": names.get(each["segment_id"], each["segment_name"])} for each in found.opportunities
    ]
    return Segmentation(**{**vars(found), "segments": segments, "opportunities": gaps})
