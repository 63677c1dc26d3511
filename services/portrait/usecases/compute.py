"""The job that computes portraits: facts are read, buckets computed side by side, and all is published at once."""

import asyncio
import math
import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import reduce
from operator import add
from typing import Any, BinaryIO

import pyarrow as pa
from pyroaring import BitMap

from services.kit import outbox
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.jobs import Running
from services.portrait.domain.calendar import Window, WorkCalendar
from services.portrait.domain.detail import Details
from services.portrait.domain.interest import Interest
from services.portrait.domain.pack import Encoded, packed_portrait
from services.portrait.domain.readiness import Inputs, ReadinessRule
from services.portrait.domain.run import TABLES, LakeFile, Portrait, Run
from services.portrait.domain.tag import Catalogue
from services.portrait.lake import Beside, Lake, ResultReader, packing, read_base
from services.portrait.lake.city import cells_table
from services.portrait.lake.details import contacts_table
from services.portrait.lake.files import read as read_table
from services.portrait.lake.files import remove
from services.portrait.lake.interests import interests_of
from services.portrait.lake.trial import places_table
from services.portrait.store import Audiences
from services.portrait.store.city import City, CityRows
from services.portrait.store.days import KeptDays
from services.portrait.store.projections import Projections
from services.portrait.store.runs import Published, Runs
from services.portrait.usecases.bucket import PAST, Outcome, Work, compute
from services.portrait.usecases.city import rows_of
from services.portrait.usecases.days import Days, samples
from services.portrait.usecases.inputs import Snapshot, facts_of
from services.portrait.usecases.shelf import Shelf
from services.portrait.usecases.whereabouts import CELLS

KIND = "compute"
PUBLISHED = "run.published"
PACK = "packed"
SAMPLE = -1
"""The bucket under which the samples of days are kept."""
_PUBLISH_SECONDS = 600.0
_KEEP_RUNS = 2
_DROP_AT_ONCE = 20_000
_KEEP_DAYS = timedelta(days=45)
"""How long a day of signalling is kept that no run uses: longer than from one month's run to the next."""
_DAYS_AT_ONCE = 200
_CONTACT_DAYS = 180

Encoder = Callable[[Portrait, Sequence[Interest]], Encoded]
"""A portrait with the customer's interests, as it is stored and answered."""
Bearers = dict[tuple[str, str], BitMap]
"""Who bears each (tag, value)."""


@dataclass(frozen=True)
class Settings:
    """How runs are computed."""

    rule: ReadinessRule
    calendar: WorkCalendar
    zone: str
    buckets: int
    threads: int
    details: Details
    hold_from: int = 10_000
    """Customers from which on a run with a tag outside of its coverage band is held; smaller bases vary too much."""
    overtaken_seconds: float = 120.0
    """How long a job whose input is gone waits for that of the newer inputs to take its place."""


class Computing:
    """Runs, from a job's inputs to what readers see."""

    def __init__(
        self,
        db: Database,
        runs: Runs,
        lake: Lake,
        snapshot: Snapshot,
        encoder: Callable[[Catalogue], Encoder],
        audiences: Audiences,
        city: City,
        shelf: Shelf,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._db = db
        self._runs = runs
        self._lake = lake
        self._snapshot = snapshot
        self._encoder = encoder
        self._city = city
        self._shelf = shelf
        self._audiences = audiences
        self._settings = settings
        self._clock = clock
        self._results = ResultReader()
        self._days = KeptDays()
        self._projections = Projections()

    async def compute(self, running: Running) -> None:
        """Compute and publish the run of a job. Buckets that an earlier attempt finished are not computed again.

        Raises Cancelled when an input was superseded and the job of the newer inputs took this one's place;
        feeds_incomplete when an input is no longer in force and nothing follows.
        """
        inputs = Inputs.of_spec(running.job.spec)
        required, patience = self._settings.rule.feeds, self._settings.overtaken_seconds
        facts = await facts_of(running, inputs, self._snapshot, required, patience)
        window = Window(inputs.from_date, inputs.to_date, self._settings.zone)
        await running.progress(0, self._settings.buckets, message="reading customers, places and bills")
        catalogue = await self._shelf.of(running.job.spec["catalogue"])
        beside = Beside(
            await self._classes(inputs),
            await self._samples(facts[self._settings.rule.daily]),
            self._settings.details,
            await self._contacts(running, inputs),
            self._settings.buckets,
        )
        base = await asyncio.to_thread(read_base, facts, window, catalogue, self._settings.calendar, beside)
        work = Work(
            running.job.spec["run_id"],
            base,
            window,
            self._settings.calendar,
            catalogue,
            self._settings.buckets,
        )
        before = await self._before(running, window)
        outcomes = await self._buckets(running, work, facts[self._settings.rule.daily], before)
        await running.progress(len(outcomes), len(outcomes), message="publishing")
        await self._publish(running, work, outcomes)

    async def tidy(self) -> None:
        """Drop the customers' rows of runs that nobody reads any more, in small steps."""
        gone = 1
        while gone:
            async with self._db.begin() as tx:
                gone = await self._runs.drop_rows_of_old(tx, _KEEP_RUNS, _DROP_AT_ONCE)
                await self._audiences.drop_bitmaps_of_old(tx, _KEEP_RUNS)
                await tx.commit()
        await self._tidy_days()

    async def _tidy_days(self) -> None:
        """Delete kept days that no run has used for long: the row first, since it would be believed without files."""
        before = self._clock() - _KEEP_DAYS
        async with self._db.read() as read:
            unused = await self._days.unused(read, before, _DAYS_AT_ONCE)
        for kept in unused:
            async with self._db.begin() as tx:
                await self._days.drop(tx, kept, before)
                await tx.commit()
            for file in (kept.stays, kept.cells):
                await asyncio.to_thread(remove, file)

    async def _classes(self, inputs: Inputs) -> Mapping[str, str]:
        async with self._db.read() as read:
            return await self._city.classes(read, inputs.to_date)

    async def _contacts(self, running: Running, inputs: Inputs) -> pa.Table | None:
        """The contacts that the run's columns are counted of, kept by the first attempt: each one ends the same."""
        kept = running.job.checkpoint.get("contacts")
        if kept is None:
            async with self._db.read() as read:
                rows = await self._projections.until(read, inputs.to_date, _CONTACT_DAYS, self._settings.zone)
            path = f"portrait/contacts/run={running.job.spec['run_id']}/contacts.parquet"
            file = await asyncio.to_thread(self._lake.write, path, contacts_table(rows), -1)
            kept = [file.uri, file.rows, file.sha256]
            await running.save({**running.job.checkpoint, "contacts": kept})
        uri, rows_, sha256 = kept
        table = await asyncio.to_thread(read_table, LakeFile(uri, rows_, sha256, -1))
        return table if table.num_rows else None

    async def _before(self, running: Running, window: Window) -> list[list[LakeFile]]:
        """The tables PAST of the run that this one follows; the same at every attempt, so that it ends the same."""
        kept = running.job.checkpoint.get("before")
        async with self._db.read() as read:
            if kept is None:
                found = await self._runs.before(read, window.to_date)
                kept = found[1].run_id if found is not None else ""
            earlier = await self._runs.by_id(read, kept) if kept else None
            if earlier is None:
                files = []
            else:
                files = [await self._runs.files(read, earlier[0], table) for table in PAST]
        await running.save({**running.job.checkpoint, "before": kept})
        return files

    async def _samples(self, signalling: Sequence[LakeFile]) -> list[pa.Table]:
        """The samples by which the map is examined."""
        async with self._db.read() as read:
            known = await self._days.of_bucket(read, SAMPLE)
        days, tables = await asyncio.to_thread(samples, signalling, self._settings.zone, self._lake, known)
        await self._keep(days)
        return tables

    async def _keep(self, days: Days) -> None:
        async with self._db.begin() as tx:
            await self._days.put(tx, days.used, days.fresh, self._clock())
            await tx.commit()

    async def _buckets(
        self, running: Running, work: Work, signalling: Sequence[LakeFile], before: Sequence[Sequence[LakeFile]]
    ) -> list[Outcome]:
        """Every bucket's outcome, in order; each is checkpointed when it is done."""
        kept: dict[str, Any] = dict(running.job.checkpoint.get("buckets", {}))
        turns, saving = asyncio.Semaphore(self._settings.threads), asyncio.Lock()

        async def one(bucket: int) -> Outcome:
            if str(bucket) in kept and kept[str(bucket)]["files"].keys() >= set(TABLES):
                return Outcome.of_json(bucket, kept[str(bucket)])
            async with turns:
                mine = [file for file in signalling if file.bucket == bucket]
                past = [[file for file in each if file.bucket == bucket] for each in before]
                async with self._db.read() as read:
                    known = await self._days.of_bucket(read, bucket)
                outcome = await asyncio.to_thread(compute, work, bucket, mine, self._lake, past, known)
            await self._keep(outcome.days)
            async with saving:
                kept[str(bucket)] = outcome.to_json()
                await running.save({**running.job.checkpoint, "buckets": kept})
                await running.progress(len(kept), work.buckets, message="following tracks, judging tags")
            return outcome

        tasks = [asyncio.create_task(one(bucket)) for bucket in range(work.buckets)]
        try:
            return list(await asyncio.gather(*tasks))  # the first fault as it is: the kit tells a Refusal from others
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _publish(self, running: Running, work: Work, outcomes: Sequence[Outcome]) -> None:
        """Rows, manifest, run, event and the job's end in one transaction: readers see the old run or the new one."""
        catalogue, run = work.catalogue, _run(work, outcomes)
        known = {name: value for name, value in work.base.percentiles.items() if not math.isnan(value)}
        percentiles = {f"{name} p{rank:g}": value for (name, rank), value in known.items()}
        published = Published(run, running.job.job_id, catalogue.version, catalogue.digest, percentiles)
        with tempfile.TemporaryFile() as rows:
            bearers, pack = await asyncio.to_thread(self._spool, rows, run, outcomes, self._encoder(catalogue))
            if run.customers >= self._settings.hold_from:
                published = replace(published, run=replace(run, held=held(catalogue, bearers, run.customers)))
            city = await asyncio.to_thread(rows_of, work, outcomes)
            places = await asyncio.to_thread(
                self._lake.write, f"portrait/places/run={run.run_id}/places.parquet", places_table(work.base.places), -1
            )
            cells = await asyncio.to_thread(
                self._lake.write,
                f"portrait/cells/run={run.run_id}/cells.parquet",
                cells_table(work.base.cells, work.base.places),
                -1,
            )
            others = {PACK: [pack], "places": [places], CELLS: [cells]}
            await self._publish_rows(running, published, outcomes, rows, bearers, others, city)

    async def _publish_rows(
        self,
        running: Running,
        published: Published,
        outcomes: Sequence[Outcome],
        rows: BinaryIO,
        bearers: Bearers,
        others: Mapping[str, Sequence[LakeFile]],
        city: CityRows,
    ) -> None:
        run = published.run
        async with self._db.begin(statement_seconds=_PUBLISH_SECONDS) as tx:
            run_no = await self._runs.put(tx, published, self._clock())
            if run_no is None:  # this very run was published by an earlier job
                await running.succeed(tx, customers=run.customers)
                await tx.commit()
                return
            tables = {kind: [each.files[kind] for each in outcomes] for kind in TABLES}
            await self._runs.put_files(tx, run_no, {**tables, **others})
            for _ in outcomes:
                await self._runs.copy_portraits(tx, run_no, await asyncio.to_thread(pickle.load, rows))
            await self._audiences.put_bitmaps(tx, run_no, bearers)
            await self._runs.put_counts(
                tx, run_no, {_told(tag, value): len(who) for (tag, value), who in bearers.items()}
            )
            await self._city.put(tx, run_no, city)
            seen = not run.held and await self._runs.make_current(tx, run_no)
            if seen:
                await outbox.put(tx, PUBLISHED, run.run_id, event_of(run))
            await running.succeed(
                tx,
                message="held" if run.held else "" if seen else "earlier",
                customers=run.customers,
                signalling_rows=run.signalling_rows,
                visits=run.visits,
                days_followed=sum(each.days_followed for each in outcomes),
                mapped_rows=sum(each.mapped_rows for each in outcomes),
            )
            await tx.commit()

    def _spool(
        self, rows: BinaryIO, run: Run, outcomes: Sequence[Outcome], encode: Encoder
    ) -> tuple[Bearers, LakeFile]:
        """What Postgres is to hold, made before the transaction (every Watch waits for it to end), bucket by bucket:
        the portraits in `rows`, who bears which tag; and the portraits once more as a pack in the lake."""
        bearers: Bearers = {}

        def values() -> Iterator[tuple[int, bytes]]:
            for outcome in outcomes:
                encoded = self._encoded(run, outcome, encode)
                pickle.dump(encoded, rows, pickle.HIGHEST_PROTOCOL)
                for held, who in packing.bearers(outcome.files).items():
                    bearers[held] = bearers.get(held, BitMap()) | who
                for key, _, portrait in encoded:
                    yield key, packed_portrait(portrait)

        pack = packing.write_pack(self._lake.url, f"portrait/packed/run={run.run_id}/portraits.pack", values())
        rows.seek(0)
        return bearers, pack

    def _encoded(self, run: Run, outcome: Outcome, encode: Encoder) -> list[tuple[int, str, Encoded]]:
        """The portraits of one bucket, each with its customer's interests."""
        names = self._shelf.latest.class_names
        turned_to = interests_of(outcome.files["interests"], names)
        return [
            (each.customer_key, each.org_id, encode(each, turned_to.get(each.customer_key, ())))
            for each in self._results.portraits(run.run_id, outcome.files)
        ]


def held(catalogue: Catalogue, bearers: Bearers, customers: int) -> tuple[str, ...]:
    """The tags whose coverage is outside of their band, as they are told."""
    told = []
    for tag in catalogue.tags:
        who = BitMap.union(BitMap(), *(each for (code, _), each in bearers.items() if code == tag.code))
        share = len(who) / max(customers, 1)
        if tag.expect is not None and not tag.expect[0] <= share <= tag.expect[1]:
            told.append(f"{tag.code} {share:.4f} not in {tag.expect[0]:g}..{tag.expect[1]:g}")
    return tuple(told)


def _told(tag: str, value: str) -> str:
    return f"{tag}={value}" if value else tag


def _run(work: Work, outcomes: Sequence[Outcome]) -> Run:
    return Run(
        run_id=work.run_id,
        from_date=work.window.from_date,
        to_date=work.window.to_date,
        customers=sum(each.customers for each in outcomes),
        signalling_rows=sum(each.signalling_rows for each in outcomes),
        visits=sum(each.visits for each in outcomes),
        sha256=reduce(add, (each.checksum for each in outcomes)).sha256(),
    )


def event_of(run: Run) -> dict[str, Any]:
    """What the outbox tells of a run."""
    return {
        "run_id": run.run_id,
        "from_date": run.from_date.isoformat(),
        "to_date": run.to_date.isoformat(),
        "customers": run.customers,
        "signalling_rows": run.signalling_rows,
        "visits": run.visits,
        "sha256": run.sha256,
    }
