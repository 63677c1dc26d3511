"""Reports that were made, and the schedules that ask for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from services.kit.db import Read, Write
from services.portrait.domain.run import Run
from services.portrait.store.runs import RUN_COLUMNS, run_of
from services.portrait.tables import report_schedule, report_version, run

_SCHEDULE = ("schedule_id", "report_id", "compared", "org_id", "owner", "create_time")
_OTHER = run.alias("compared_with")


@dataclass(frozen=True)
class Wanted:
    """Which version of a report: over which run, compared or not, for whom, by which definition."""

    report_id: str
    run_no: int
    compared: bool
    org_id: str
    digest: str


@dataclass(frozen=True)
class Kept:
    """A version that is kept."""

    seq: int
    report_id: str
    org_id: str
    run_id: str
    to_date: date
    compare_run_id: str
    sha256: str
    create_time: datetime


@dataclass(frozen=True)
class Schedule:
    """A report that is made for each run."""

    schedule_id: str
    report_id: str
    compared: bool
    org_id: str
    owner: str
    create_time: datetime


class Reports:
    """Versions by what they are over; schedules by id."""

    async def run_of_period(self, read: Read, first: date, last: date) -> tuple[int, Run] | None:
        """The latest published run whose data end within the span, with its number."""
        stmt = select(run.c.run_no, *RUN_COLUMNS).where(run.c.to_date.between(first, last), run.c.held == [])
        row = await read.row(stmt.order_by(run.c.to_date.desc(), run.c.run_no.desc()).limit(1))
        return (row.run_no, run_of(row)) if row is not None else None

    async def body(self, read: Read, wanted: Wanted) -> list[dict[str, Any]] | None:
        """The figures of a version, None when it was not made yet."""
        found: list[dict[str, Any]] | None = await read.value(select(report_version.c.body).where(*_is(wanted)))
        return found

    async def has(self, read: Read, wanted: Wanted) -> bool:
        """Whether a version was made."""
        return await read.value(select(report_version.c.seq).where(*_is(wanted))) is not None

    async def put(
        self, tx: Write, wanted: Wanted, compare_run_no: int | None, body: Sequence[Any], sha256: str, now: datetime
    ) -> None:
        """Keep a version; one that is there stays."""
        row = {**vars(wanted), "compare_run_no": compare_run_no, "body": list(body), "sha256": sha256,
               "create_time": now}  # fmt: skip
        await tx.execute(insert(report_version).values(row).on_conflict_do_nothing())

    async def versions(self, read: Read, report_id: str, before: int, size: int) -> list[Kept]:
        """Versions of a report made before one of number `before`, the latest first."""
        told = report_version.c
        stmt = (
            select(told.seq, told.report_id, told.org_id, run.c.run_id, run.c.to_date,
                   _OTHER.c.run_id.label("other"), told.sha256, told.create_time)
            .join(run, run.c.run_no == told.run_no)
            .outerjoin(_OTHER, _OTHER.c.run_no == told.compare_run_no)
            .where(told.report_id == report_id, told.seq < before)
            .order_by(told.seq.desc())
            .limit(size)
        )  # fmt: skip
        rows = [tuple(row) for row in await read.rows(stmt)]
        return [
            Kept(seq, report, org, run_id, to_date, other or "", sha256, made)
            for seq, report, org, run_id, to_date, other, sha256, made in rows
        ]

    async def put_schedule(self, tx: Write, made: Schedule) -> None:
        """Keep a schedule."""
        await tx.execute(insert(report_schedule).values(vars(made)))

    async def schedule(self, read: Read, schedule_id: str) -> Schedule | None:
        """A schedule."""
        columns = [report_schedule.c[name] for name in _SCHEDULE]
        row = await read.row(select(*columns).where(report_schedule.c.schedule_id == schedule_id))
        return Schedule(*tuple(row)) if row is not None else None

    async def drop_schedule(self, tx: Write, schedule_id: str) -> None:
        """Give a schedule up."""
        await tx.execute(delete(report_schedule).where(report_schedule.c.schedule_id == schedule_id))

    async def schedules(self, read: Read, after: str, size: int) -> list[Schedule]:
        """Schedules by id."""
        columns = [report_schedule.c[name] for name in _SCHEDULE]
        stmt = select(*columns).where(report_schedule.c.schedule_id > after)
        rows = await read.rows(stmt.order_by(report_schedule.c.schedule_id).limit(size))
        return [Schedule(*tuple(row)) for row in rows]


def _is(wanted: Wanted) -> list[Any]:
    return [report_version.c[name] == value for name, value in vars(wanted).items()]
