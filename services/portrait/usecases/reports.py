"""Reports: made once for each run and organisation, and kept; by schedule for every run that is published."""

import asyncio
import calendar
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import structlog

from services.kit import domains, idempotency
from services.kit.clock import Clock
from services.kit.db import Database, Read
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids
from services.portrait.domain.report import Part, Report, compared, from_json, part_of, to_json
from services.portrait.domain.run import LakeFile, Run
from services.portrait.lake.reports import KINDS, Names, ReportEngine
from services.portrait.refusals import (
    report_not_found,
    report_period_not_found,
    report_schedule_not_found,
    run_not_found,
)
from services.portrait.store.reports import Kept, Reports, Schedule, Wanted
from services.portrait.store.runs import Runs
from services.portrait.usecases.shelf import Shelf

Orgs = frozenset[str] | None
Files = Mapping[str, list[LakeFile]]
_AT_ONCE = 100
_AGAIN = timedelta(minutes=10)
"""After how long a scheduled report that could not be made is tried again."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Told:
    """A report with its figures."""

    report: Report
    parts: list[Part]
    run: Run
    compare_run: Run | None
    org_id: str


@dataclass(frozen=True)
class _Asked:
    report: Report
    org_id: str
    orgs: Orgs
    run: tuple[int, Run]
    before: tuple[int, Run] | None
    wanted: Wanted


class ReportDesk:
    """What is asked of reports; `domain` says which organisations lie in one, None for all (of the whole, "")."""

    def __init__(
        self,
        db: Database,
        runs: Runs,
        reports: Reports,
        definitions: Mapping[str, Report],
        shelf: Shelf,
        domain: Callable[[str], Orgs],
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._db = db
        self._runs = runs
        self._reports = reports
        self._definitions = definitions
        self._shelf = shelf
        self._domain = domain
        self._clock = clock
        self._ids = ids
        self._one_at_a_time = asyncio.Lock()
        self._failed: dict[Wanted, datetime] = {}

    def definitions(self, after: str, size: int) -> list[Report]:
        """A page of the reports by id."""
        return [each for name, each in self._definitions.items() if name > after][:size]

    async def get(self, report_id: str, period: str, compare: bool, org_id: str) -> Told:
        """A report of a period for an organisation, made now if it was not made yet.

        Raises report_not_found, report_period_not_found, run_not_found.
        """
        report = self._definition(report_id)
        async with self._db.read() as read:
            asked = await self._asked(read, report, period, compare, org_id, domains.current())
            body = await self._reports.body(read, asked.wanted)
        return self._told(asked, body if body is not None else await self._make(asked))

    async def versions(self, report_id: str, before: int | None, size: int) -> list[Kept]:
        """A page of the versions that are kept, the latest first. Raises report_not_found."""
        self._definition(report_id)
        async with self._db.read() as read:
            return await self._reports.versions(read, report_id, before or 2**63 - 1, size)

    async def schedule(self, report_id: str, compare: bool, org_id: str, owner: str, key: RequestKey) -> Schedule:
        """Have a report made for each run. Raises report_not_found, request_id_reused."""
        self._definition(report_id)
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            made = Schedule(self._ids(), report_id, compare, org_id, owner, self._clock())
            if earlier is not None:
                return await self._reports.schedule(tx, earlier["schedule_id"]) or made
            await self._reports.put_schedule(tx, made)
            await idempotency.answer(tx, key, {"schedule_id": made.schedule_id})
            await tx.commit()
        return made

    async def schedules(self, after: str, size: int) -> list[Schedule]:
        """A page of the schedules by id."""
        async with self._db.read() as read:
            return await self._reports.schedules(read, after, size)

    async def unschedule(self, schedule_id: str, key: RequestKey) -> Schedule:
        """Give a schedule up. Raises report_schedule_not_found, request_id_reused."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return Schedule(schedule_id, earlier["report_id"], False, earlier["org_id"], "", self._clock())
            known = await self._reports.schedule(tx, schedule_id)
            if known is None:
                raise report_schedule_not_found(schedule_id)
            await self._reports.drop_schedule(tx, schedule_id)
            await idempotency.answer(tx, key, {"report_id": known.report_id, "org_id": known.org_id})
            await tx.commit()
        return known

    async def make_due(self) -> int:
        """Make what schedules ask for over the current run and is not there; gives how many were made.

        Each is kept by its own transaction, so that a process that dies loses at most the one in hand.
        """
        made, after = 0, ""
        while page := await self.schedules(after, _AT_ONCE):
            for schedule in page:
                made += await self._make_one(schedule)
            after = page[-1].schedule_id
        return made

    async def _make_one(self, schedule: Schedule) -> int:
        report = self._definitions.get(schedule.report_id)
        async with self._db.read() as read:
            if report is None or await self._runs.current(read) is None:
                return 0
            orgs = self._domain(schedule.org_id)
            asked = await self._asked(read, report, "", schedule.compared, schedule.org_id, orgs)
            if await self._reports.has(read, asked.wanted):
                return 0
        if self._clock() - self._failed.get(asked.wanted, self._clock() - _AGAIN) < _AGAIN:
            return 0
        try:
            await self._make(asked)
        except Exception as error:  # the others are made all the same
            self._failed[asked.wanted] = self._clock()
            _log.error("report_not_made", report=schedule.report_id, run=asked.run[1].run_id, exc_info=error)
            return 0
        return 1

    async def _asked(self, read: Read, report: Report, period: str, compare: bool, org_id: str, orgs: Orgs) -> _Asked:
        now = await self._run(read, period)
        before = await self._runs.before(read, now[1].to_date) if compare else None
        digest = _digest(report, orgs, before[1].run_id if before else "")
        return _Asked(report, org_id, orgs, now, before, Wanted(report.report_id, now[0], compare, org_id, digest))

    async def _run(self, read: Read, period: str) -> tuple[int, Run]:
        if not period:
            current = await self._runs.current(read)
            if current is None:
                raise run_not_found("")
            return current
        try:
            first = date.fromisoformat(period if len(period) > 7 else f"{period}-01")
        except ValueError as error:
            raise report_period_not_found(period) from error
        last = first if len(period) > 7 else first.replace(day=calendar.monthrange(first.year, first.month)[1])
        found = await self._reports.run_of_period(read, first, last)
        if found is None:
            raise report_period_not_found(period)
        return found

    async def _make(self, asked: _Asked) -> list[dict[str, Any]]:
        """Compute and keep; one at a time in a process, since one takes memory for all customers of a run."""
        async with self._one_at_a_time:
            async with self._db.read() as read:
                now = {kind: await self._runs.files(read, asked.run[0], kind) for kind in KINDS}
                before = asked.before and {kind: await self._runs.files(read, asked.before[0], kind) for kind in KINDS}
            body = await asyncio.to_thread(self._compute, asked, now, before)
        sha256 = hashlib.sha256(json.dumps(body, ensure_ascii=False, sort_keys=True).encode()).hexdigest()
        async with self._db.begin() as tx:
            compare_no = asked.before[0] if asked.before else None
            await self._reports.put(tx, asked.wanted, compare_no, body, sha256, self._clock())
            await tx.commit()
        return body

    def _compute(self, asked: _Asked, now: Files, before: Files | None) -> list[dict[str, Any]]:
        catalogue = self._shelf.latest
        tags = {tag.code: (tag.name, tag.family, tag.kind) for tag in catalogue.tags}
        smallest, parts = asked.report.smallest_group, []
        with ReportEngine(Names(tags, catalogue.class_names), now, before, asked.orgs) as engine:
            for table in asked.report.tables:
                part = part_of(table, engine.measure(table), smallest)
                if before is not None:
                    earlier = part_of(table, engine.measure(table, earlier=True), smallest)
                    part = compared(part, earlier)
                parts.append(part)
        return to_json(parts)

    def _told(self, asked: _Asked, body: list[dict[str, Any]]) -> Told:
        parts = from_json(body, {table.table_id: table for table in asked.report.tables})
        return Told(asked.report, parts, asked.run[1], asked.before[1] if asked.before else None, asked.org_id)

    def _definition(self, report_id: str) -> Report:
        if report_id not in self._definitions:
            raise report_not_found(report_id)
        return self._definitions[report_id]


def _digest(report: Report, orgs: Orgs, compare_run_id: str) -> str:
    told = (repr(report), sorted(orgs) if orgs is not None else None, compare_run_id)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]
