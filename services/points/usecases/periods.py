"""Periods: OPEN, CALCULATED, LOCKED, PAID; and the recalculation of a month, reported before it is posted."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from services.kit import domains, idempotency, jobs, operations
from services.kit.clock import Clock
from services.kit.db import Database, Read, Write
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids
from services.points import refusals
from services.points.domain.month import LineKey, PeriodKey, Run, Wanted, differences, hashed
from services.points.domain.period import Period, State
from services.points.domain.posting import Rules
from services.points.domain.recalculation import Change, changes
from services.points.domain.rule_set import canonical
from services.points.domain.settling import deltas
from services.points.lake.archive import ADJUSTMENT, archive, table
from services.points.store import Store
from services.points.usecases import months
from services.points.usecases.settling import base_of

BATCH = 200
"""Events whose differences are posted in one transaction."""

PART = 1 << 20
"""Bytes of an archive in one message."""

Posted = tuple[dict[LineKey, int], dict[PeriodKey, int]]


@dataclass(frozen=True)
class Periods:
    """Moves periods and recalculates months."""

    db: Database
    clock: Clock
    ids: Ids
    zone: ZoneInfo
    store: Store
    _compiled: dict[str, Rules] = field(default_factory=dict)

    async def page(self, before: str, size: int) -> list[Period]:
        """Periods, the latest first; an open one without its checksum, which costs a scan."""
        async with self.db.read() as read:
            found = await self.store.months.periods(read, before, size)
            whole = [await self.store.ledger.sums(read, period_id) for period_id, _ in found]
        return [Period(name, State(state), *sums) for (name, state), sums in zip(found, whole, strict=True)]

    async def begin(self, key: RequestKey, kind: str, period_id: str, author: str, run_id: str = "") -> jobs.Job:
        """Queue a job over a period. Raises period_not_found, period_state."""
        async with self.db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is None:
                state = await self.store.months.open(tx, period_id)
                if not state:
                    raise refusals.period_not_found(period_id)
                if kind == "calculate" and state != State.OPEN:
                    raise refusals.period_state(period_id, state, "calculated")
                spec = {"period_id": period_id, "author": author, "run_id": run_id or self.ids()}
                job = await jobs.create(tx, job_id=self.ids(), kind=kind, key=self.ids(), spec=spec, now=self.clock())
                earlier = {"job_id": job.job_id}
                await idempotency.answer(tx, key, earlier)
            found = await jobs.get(tx, earlier["job_id"])
            await tx.commit()
        return found

    async def begin_posting(self, key: RequestKey, run_id: str, poster: str) -> jobs.Job:
        """Queue the posting of a recalculation's differences. Raises run_not_found, run_state, second_person."""
        run, author = await self.run(run_id)
        if run.kind != "RECALCULATION" or run.state == "AGREED":
            raise refusals.run_state(run.state)
        if author == poster:
            raise refusals.second_person(author)
        return await self.begin(key, "post", run.period_id, poster, run_id)

    async def job(self, job_id: str) -> jobs.Job:
        """A job as it stands. Raises job_not_found."""
        async with self.db.read() as read:
            return await jobs.get(read, job_id)

    async def run(self, run_id: str) -> tuple[Run, str]:
        """A run and its author, as far as the caller may see it. Raises run_not_found."""
        async with self.db.read() as read:
            found = await self.store.months.run(read, run_id)
            if found is None:
                raise refusals.run_not_found(run_id)
            run, author = found
            if domains.current() is None:
                return run, author
            # A run is the whole company's: of it a limited caller sees the differences of his employees.
            theirs = await self.store.references.employees(read, {staff_id for staff_id, *_ in run.differences})
        return run.of_staff(theirs), author

    async def move(self, key: RequestKey, period_id: str, to: State, who: str) -> Period:
        """Reopen, lock or pay. Raises period_not_found, period_state."""
        needed = State.LOCKED if to is State.PAID else State.CALCULATED
        async with self.db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                await self.store.ledger.lock(tx)
                state = await self.store.months.open(tx, period_id)
                if not state:
                    raise refusals.period_not_found(period_id)
                if state != needed:
                    raise refusals.period_state(period_id, state, to.value.lower())
                sha256 = await self.store.ledger.proof(tx, "period_id", period_id) if to is State.LOCKED else None
                await self.store.months.move(tx, period_id, to.value, who, self.clock(), sha256)
                await idempotency.answer(tx, key, {})
            period = await self.store.ledger.period(tx, period_id)
            await tx.commit()
        assert period is not None
        return period

    async def calculate(self, running: jobs.Running) -> None:
        """The job: score the period once more by SQL; when the ledger says the same, it is CALCULATED."""
        spec = running.job.spec
        wanted, posted, hashes = await self._compare(spec["period_id"], by_sql=True)
        run = _run(spec, "CLOSE", wanted, posted, hashes)
        async with self.db.begin() as tx:
            await self.store.ledger.lock(tx)
            if posted != await self.store.months.posted(tx, run.period_id):
                raise RuntimeError("events came while the period was calculated; the job tries again")
            await self.store.months.keep(tx, run, spec["author"], self.clock())
            if run.state == "AGREED" and await self.store.months.open(tx, run.period_id) == State.OPEN:
                await self.store.months.move(tx, run.period_id, "CALCULATED", spec["author"], self.clock())
            await running.succeed(tx, message=run.state, events=run.events, differences=len(run.differences))
            await tx.commit()

    async def recalculate(self, running: jobs.Running) -> None:
        """The job: score the month by the rules published now; report, post nothing."""
        spec = running.job.spec
        wanted, posted, hashes = await self._compare(spec["period_id"], by_sql=False)
        run = _run(spec, "RECALCULATION", wanted, posted, hashes)
        async with self.db.begin() as tx:
            await self.store.months.keep(tx, run, spec["author"], self.clock())
            await running.succeed(tx, message=run.state, events=run.events, differences=len(run.differences))
            await tx.commit()

    async def post(self, running: jobs.Running) -> None:
        """The job: bring the ledger to what the rules say, event by event; what is posted already is not again.

        Each transaction looks at what is posted then, so a job that was killed goes on where it was.
        """
        spec = running.job.spec
        wanted, posted, _ = await self._compare(spec["period_id"], by_sql=False)
        moved = changes(wanted, posted[0])
        now = self.clock()
        for place in range(0, len(moved), BATCH):
            part = moved[place : place + BATCH]
            await running.progress(place, len(moved) + 1)
            async with self.db.begin() as tx:
                await self.store.ledger.lock(tx)
                await self._post(tx, part, wanted, spec["run_id"], now)
                await running.save({"posted": running.job.checkpoint.get("posted", 0) + len(part)}, tx)
                await tx.commit()
        async with self.db.begin() as tx:
            await self.store.ledger.lock(tx)
            await self._post_period(tx, spec["period_id"], wanted, spec["run_id"], now)
            await self.store.months.mark_posted(tx, spec["run_id"], spec["author"])
            await running.succeed(tx, message="POSTED", events=len(moved))
            await tx.commit()

    async def _compare(self, period_id: str, *, by_sql: bool) -> tuple[Wanted, Posted, tuple[str, str, str]]:
        async with self.db.read() as read:
            effective = await months.rules_in(read, self.store, self._compiled)
            month = await months.load(read, self.store, period_id)
            posted = await self.store.months.posted(read, period_id)
        wanted = await asyncio.to_thread(months.score, month, self.zone, effective, self._compiled, by_sql=by_sql)
        hashes = (
            hashed(canonical(self._compiled[each].compiled.rule_set) for _, _, each in sorted(effective)),
            hashed(map(str, month.table.to_pylist())),
            hashed((key, [(r.row, begin, end) for r, begin, end in rows]) for key, rows in sorted(month.held.items())),
        )
        return wanted, posted, hashes

    async def _post(self, tx: Write, part: Sequence[Change], wanted: Wanted, run_id: str, now: datetime) -> None:
        keys = {change.key for change in part}
        events = await self.store.events.known(tx, keys)
        origins = {event.origin_key for event in events.values() if event.origin_event_id}
        entries = await self.store.ledger.posted(tx, keys | origins)
        staff = {line.staff_id for change in part for line in change.lines}
        orgs = {name: one.org_id for name, one in (await self.store.references.employees(tx, staff)).items()}
        periods = await self.store.ledger.posts_in(tx, {change.period_id for change in part})
        made = []
        for change in part:
            event = events[change.key]
            category, _ = await self.store.events.facts(tx, change.key)
            before = [each.entry for each in entries.get(change.key, ())]
            origin = [each.entry for each in entries.get(event.origin_key, ())]
            place = months.place(event, self.zone, periods, category)
            made += change.entries(event, before, origin, place, orgs, self._compiled, run_id)
        await self.store.ledger.append(tx, made, now)

    async def _post_period(self, tx: Write, period_id: str, wanted: Wanted, run_id: str, now: datetime) -> None:
        _, posted = await self.store.months.posted(tx, period_id)
        event = await self.store.events.latest(tx, *months.bounds(period_id))
        if event is None:
            return
        into = (await self.store.ledger.posts_in(tx, {period_id})).get(period_id, period_id)
        staff = {key.staff_id for key in (*posted, *wanted.period)}
        orgs = {name: one.org_id for name, one in (await self.store.references.employees(tx, staff)).items()}
        for rule_set_id in {key.rule_set_id for key in (*posted, *wanted.period)}:
            rules = self._compiled[rule_set_id]
            says = {tuple(k)[1:]: v for k, v in wanted.period.items() if k.rule_set_id == rule_set_id}
            stands = {tuple(k)[1:]: v for k, v in posted.items() if k.rule_set_id == rule_set_id}
            base = base_of(event, rules, period_id, into, run_id)
            made = deltas(rules.compiled.rule_set, base, says, stands, orgs)  # type: ignore[arg-type]
            await self.store.ledger.append(tx, made, now)

    async def export(self, period_id: str) -> AsyncIterator[bytes]:
        """What a period follows from, as the parts of a zip archive that `replay` takes. Raises period_not_found."""
        async with self.db.read() as read:
            period = await self.store.ledger.period(read, period_id)
            if period is None:
                raise refusals.period_not_found(period_id)
            published = await self.store.rule_sets.published(read)
            rules = {f"{name}@{day}": await self.store.rule_sets.definition(read, each)
                     for name, day, each, _ in published}  # fmt: skip
            month = await months.load(read, self.store, period_id)
            adjustments = table(ADJUSTMENT, await self.store.months.adjustments(read, period_id))
        async with self.db.begin() as tx:
            await operations.record(tx, "points.ExportPeriod", period_id, sha256=period.accrual_sha256)
            await tx.commit()
        file = await asyncio.to_thread(archive, period_id, self.zone.key, period.accrual_sha256, rules, month.table,
                                       month.held, adjustments)  # fmt: skip
        with file:
            while data := await asyncio.to_thread(file.read, PART):
                yield data

    async def effect(self, read: Read, rules: Rules, period_id: str) -> Wanted:
        """What some rules would give for a month's events, on every day of it."""
        month = await months.load(read, self.store, period_id)
        effective = [("simulated", months.bounds("1900-01")[0], rules.rule_set_id)]
        return await asyncio.to_thread(
            months.score, month, self.zone, effective, {rules.rule_set_id: rules}, by_sql=False
        )


def _run(spec: object, kind: str, wanted: Wanted, posted: Posted, hashes: tuple[str, str, str]) -> Run:
    assert isinstance(spec, dict)
    found = differences(wanted, *posted)
    lines, period = posted
    same = {k: w.milli_points for k, w in wanted.lines.items()} == lines and dict(wanted.period) == period
    output = hashed([*sorted((tuple(k), w.milli_points) for k, w in wanted.lines.items()),
                     *sorted((str(tuple(k)), v) for k, v in wanted.period.items())])  # fmt: skip
    return Run(spec["run_id"], kind, spec["period_id"], "AGREED" if same else "DIFFERS", *hashes, output,
               wanted.events, sum(lines.values()) + sum(period.values()), wanted.total(), found)  # fmt: skip
