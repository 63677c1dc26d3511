"""A month as it was scored: events with their facts, fields as they were known, what is posted."""

from collections.abc import Collection
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

import pyarrow as pa
from sqlalchemy import insert, select, text, update

from services.kit.db import Read, Write
from services.points import tables
from services.points.domain import field
from services.points.domain.field import Assignment
from services.points.domain.month import Held, LineKey, PeriodKey, Run

_FOREVER = 2**62
_COLUMNS = ("source", "source_event_id", "type", "customer_key", "product_id", "category", "channel", "staff_id",
            "staff_role", "customer_type", "cell_id", "grid_id", "amount_fen", "origin_event_id", "occur_time",
            "known_revision")  # fmt: skip
_EVENTS = f"""
    WITH mine AS (
        SELECT * FROM business_event
        WHERE state = 'SCORED' AND type <> 'ADJUSTMENT' AND business_date BETWEEN :first AND :last
    ), origin AS (
        SELECT DISTINCT o.* FROM business_event o JOIN mine r
            ON r.type = 'REFUND' AND (r.source, r.origin_event_id) = (o.source, o.source_event_id)
    ), plain AS (SELECT * FROM mine WHERE type <> 'REFUND' UNION SELECT * FROM origin)
    SELECT {", ".join(_COLUMNS[:-1])}, tried_revision AS known_revision, business_date FROM (
        SELECT * FROM plain
        UNION SELECT r.* FROM business_event r JOIN plain p
            ON r.type = 'REFUND' AND r.state = 'SCORED'
            AND (r.source, r.origin_event_id) = (p.source, p.source_event_id)
    ) every ORDER BY occur_time, source, source_event_id
"""


class Months:
    """Reads months for simulation, close and recalculation; keeps the runs."""

    async def events(self, read: Read, first: date, last: date) -> tuple[pa.Table, list[date]]:
        """The scored events of some days as `lake.events` takes them, with what their refunds take back; their days."""
        rows = await read.rows(text(_EVENTS), {"first": first, "last": last})
        columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in _COLUMNS}
        types = {"occur_time": pa.timestamp("us", tz="UTC"), "amount_fen": pa.int64(), "customer_key": pa.int64(),
                 "known_revision": pa.int64()}  # fmt: skip
        table = pa.table({n: pa.array(values, types.get(n, pa.string())) for n, values in columns.items()})
        return table, [row.business_date for row in rows]

    async def held(self, read: Read, subjects: Collection[int]) -> Held:
        """Assignments of subjects with the revisions [from, to) at which scoring knew them."""
        stmt = text("SELECT * FROM responsibility_field WHERE customer_key = ANY(:keys) ORDER BY assignment_id")
        held: dict[int, list[tuple[Assignment, int, int]]] = {}
        for row in await read.rows(stmt, {"keys": list(subjects)}):
            told = field.Row(row.customer_key, row.staff_id, row.role, row.share_bps, row.valid_from, row.valid_to,
                             row.delivery_id, row.line, row.place)  # fmt: skip
            known = Assignment(row.assignment_id, told, row.known_from, row.known_to)
            until = _FOREVER if row.known_to_revision is None else row.known_to_revision
            held.setdefault(row.customer_key, []).append((known, row.known_from_revision, until))
        return held

    async def posted(self, read: Read, accrual_id: str) -> tuple[dict[LineKey, int], dict[PeriodKey, int]]:
        """What is posted of a month, net: lines of events, and lines of tiers and caps."""
        stmt = text("""
            SELECT rule_set_id, source, source_event_id, rule_id, role, staff_id,
                CAST(sum(milli_points) AS bigint) AS points
            FROM points_entry
            WHERE accrual_id = :accrual AND kind IN ('EVENT', 'REFUND') AND account NOT LIKE 'budget:%'
            GROUP BY rule_set_id, source, source_event_id, rule_id, role, staff_id HAVING sum(milli_points) <> 0
        """)
        lines = {
            LineKey(r.rule_set_id, r.source, r.source_event_id, r.rule_id, r.role, r.staff_id): int(r.points)
            for r in await read.rows(stmt, {"accrual": accrual_id})
        }
        own = text("""
            SELECT rule_set_id, rule_id, customer_key, business_date, staff_id,
                CAST(sum(milli_points) AS bigint) AS points
            FROM points_entry WHERE accrual_id = :accrual AND kind IN ('TIER', 'CAP') AND account NOT LIKE 'budget:%'
            GROUP BY rule_set_id, rule_id, customer_key, business_date, staff_id HAVING sum(milli_points) <> 0
        """)
        period = {
            PeriodKey(r.rule_set_id, r.rule_id, r.customer_key, r.business_date, r.staff_id): int(r.points)
            for r in await read.rows(own, {"accrual": accrual_id})
        }
        return lines, period

    async def adjustments(self, read: Read, accrual_id: str) -> list[tuple[str, str, str, int, datetime]]:
        """Corrections by hand that belong to a month: (id, employee, component, milli-points, when posted)."""
        rows = await read.rows(text("""
            SELECT source_event_id, staff_id, component, milli_points, occur_time FROM points_entry
            WHERE accrual_id = :accrual AND kind = 'ADJUSTMENT' AND account NOT LIKE 'budget:%'
            ORDER BY occur_time, source_event_id
        """), {"accrual": accrual_id})  # fmt: skip
        return [(r.source_event_id, r.staff_id, r.component, r.milli_points, r.occur_time) for r in rows]

    async def last_month(self, read: Read) -> str:
        """The latest month with scored events; "" without one."""
        day = await read.value(text("SELECT max(business_date) FROM business_event WHERE state = 'SCORED'"))
        return "" if day is None else f"{day:%Y-%m}"

    async def keep(self, tx: Write, run: Run, author: str, now: datetime) -> None:
        """Keep what a run found; the same id again changes nothing."""
        known = await tx.value(select(tables.score_run.c.run_id).where(tables.score_run.c.run_id == run.run_id))
        if known is None:
            values = asdict(run) | {"report": run.report(), "author": author, "poster": "", "create_time": now}
            values = {name: value for name, value in values.items() if name in tables.score_run.c}
            await tx.execute(insert(tables.score_run).values(values))

    async def run(self, read: Read, run_id: str) -> tuple[Run, str] | None:
        """A run and its author."""
        row = await read.row(select(tables.score_run).where(tables.score_run.c.run_id == run_id))
        if row is None:
            return None
        return Run.of(row.run_id, row.kind, row.period_id, row.state, (row.rules_sha256, row.events_sha256,
                      row.fields_sha256, row.output_sha256), row.report), row.author  # fmt: skip

    async def mark_posted(self, tx: Write, run_id: str, poster: str) -> None:
        """Note that a run's differences were posted."""
        stmt = update(tables.score_run).where(tables.score_run.c.run_id == run_id)
        await tx.execute(stmt.values(state="POSTED", poster=poster))

    async def periods(self, read: Read, before: str, size: int) -> list[tuple[str, str]]:
        """(period, state), the latest first, those before a period."""
        stmt = select(tables.period).order_by(tables.period.c.period_id.desc()).limit(size)
        if before:
            stmt = stmt.where(tables.period.c.period_id < before)
        return [(row.period_id, row.state) for row in await read.rows(stmt)]

    async def open(self, tx: Write, period_id: str) -> str:
        """The period's state, locked until the transaction ends; "" when there is none."""
        stmt = select(tables.period.c.state).where(tables.period.c.period_id == period_id).with_for_update()
        return str(await tx.value(stmt) or "")

    async def move(
        self, tx: Write, period_id: str, state: str, who: str, now: datetime, sha256: str | None = None
    ) -> None:
        """Put a period into another state."""
        values = {"state": state, "changer": who, "change_time": now} | ({} if sha256 is None else {"sha256": sha256})
        await tx.execute(update(tables.period).where(tables.period.c.period_id == period_id).values(values))
