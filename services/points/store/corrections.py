"""Adjustments, disputes and cases of fraud."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Row, Table, insert, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert

from services.kit.db import Read, Write
from services.points import tables
from services.points.domain.fraud import Case, Fact

T = TypeVar("T")


@dataclass(frozen=True)
class Adjustment:
    """A correction by hand."""

    adjustment_id: str
    org_id: str
    staff_id: str
    component: str
    milli_points: int
    reason: str
    author: str
    create_time: datetime
    approver: str = ""
    state: str = "PROPOSED"
    period_id: str = ""
    dispute_id: str = ""


@dataclass(frozen=True)
class Dispute:
    """What an employee contests."""

    dispute_id: str
    org_id: str
    staff_id: str
    source: str
    source_event_id: str
    claim: str
    opener: str
    create_time: datetime
    change_time: datetime
    state: str = "OPEN"
    posted_milli_points: int | None = None
    replayed_milli_points: int | None = None
    answer: str = ""
    resolver: str = ""
    missing: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class FraudCase:
    """An event that looks like fraud."""

    case_id: str
    org_id: str
    period_id: str
    pattern: str
    staff_id: str
    source: str
    source_event_id: str
    explanation: str
    milli_points: int
    state: str
    decider: str


class Corrections:
    """Rows by their id; lists with the latest first."""

    async def add_adjustment(self, tx: Write, one: Adjustment) -> None:
        """Keep a proposal."""
        await tx.execute(insert(tables.adjustment).values(asdict(one)))

    async def adjustment(self, read: Read, adjustment_id: str) -> Adjustment | None:
        """One of them."""
        row = await read.row(select(tables.adjustment).where(tables.adjustment.c.adjustment_id == adjustment_id))
        return None if row is None else _made(Adjustment, row)

    async def adjustments(
        self, read: Read, staff_id: str, after: tuple[datetime, str] | None, size: int
    ) -> list[Adjustment]:
        """A page."""
        rows = await _page(read, tables.adjustment, "adjustment_id", staff_id, after, size)
        return [_made(Adjustment, row) for row in rows]

    async def decide_adjustment(self, tx: Write, adjustment_id: str, **values: Any) -> None:
        """Note the decision."""
        stmt = update(tables.adjustment).where(tables.adjustment.c.adjustment_id == adjustment_id)
        await tx.execute(stmt.values(values))

    async def add_dispute(self, tx: Write, one: Dispute) -> None:
        """Keep a claim."""
        await tx.execute(insert(tables.dispute).values(asdict(one)))

    async def dispute(self, read: Read, dispute_id: str) -> Dispute | None:
        """One of them."""
        row = await read.row(select(tables.dispute).where(tables.dispute.c.dispute_id == dispute_id))
        return None if row is None else _made(Dispute, row)

    async def disputes(self, read: Read, staff_id: str, after: tuple[datetime, str] | None, size: int) -> list[Dispute]:
        """A page."""
        rows = await _page(read, tables.dispute, "dispute_id", staff_id, after, size)
        return [_made(Dispute, row) for row in rows]

    async def move_dispute(self, tx: Write, dispute_id: str, **values: Any) -> None:
        """Note an answer or a decision."""
        await tx.execute(update(tables.dispute).where(tables.dispute.c.dispute_id == dispute_id).values(values))

    async def facts(self, read: Read, first: datetime, last: datetime) -> list[Fact]:
        """Scored events of a span with when they were taken back, in the zone of `first`."""
        rows = await read.rows(text("""
            SELECT e.*, r.occur_time AS voided FROM business_event e
            LEFT JOIN LATERAL (SELECT min(occur_time) AS occur_time FROM business_event b WHERE b.type = 'REFUND'
                AND b.state = 'SCORED' AND (b.source, b.origin_event_id) = (e.source, e.source_event_id)) r ON true
            WHERE e.state = 'SCORED' AND e.type NOT IN ('REFUND', 'ADJUSTMENT')
                AND e.occur_time >= :first AND e.occur_time < :last
        """), {"first": first, "last": last})  # fmt: skip
        zone = first.tzinfo
        return [
            Fact(r.source, r.source_event_id, r.type, r.customer_key, r.product_id, r.category, r.staff_id, r.org_id,
                 r.amount_fen or 0, r.occur_time.astimezone(zone), r.voided and r.voided.astimezone(zone))
            for r in rows
        ]  # fmt: skip

    async def add_cases(self, tx: Write, period_id: str, found: Iterable[Case], now: datetime) -> None:
        """Keep cases with what their events gave; those that are known stay as they are."""
        for case in found:
            fact = case.fact
            points = await tx.value(
                text("SELECT coalesce(sum(milli_points), 0) FROM points_entry WHERE kind = 'EVENT'"
                     " AND (source, source_event_id) = (:s, :i) AND staff_id = :staff"),
                {"s": fact.source, "i": fact.source_event_id, "staff": fact.staff_id},
            )  # fmt: skip
            values = {"case_id": case.case_id, "org_id": fact.org_id, "period_id": period_id, "pattern": case.pattern,
                      "staff_id": fact.staff_id, "source": fact.source, "source_event_id": fact.source_event_id,
                      "explanation": case.explanation, "milli_points": int(points), "state": "FLAGGED",
                      "decider": "", "create_time": now}  # fmt: skip
            await tx.execute(upsert(tables.fraud_case).values(values).on_conflict_do_nothing())

    async def cases(self, read: Read, period_id: str, after: str, size: int) -> list[FraudCase]:
        """A page by case id, of one month or all."""
        stmt = select(tables.fraud_case).where(tables.fraud_case.c.case_id > after)
        if period_id:
            stmt = stmt.where(tables.fraud_case.c.period_id == period_id)
        rows = await read.rows(stmt.order_by(tables.fraud_case.c.case_id).limit(size))
        return [_made(FraudCase, row) for row in rows]

    async def given(self, read: Read, case: FraudCase) -> dict[str, int]:
        """What a case's event still gives its employee, by component: what refunds took back is gone."""
        rows = await read.rows(text("""
            WITH given AS (
                SELECT entry_id, component, milli_points FROM points_entry
                WHERE (source, source_event_id) = (:s, :i) AND staff_id = :staff AND kind = 'EVENT'
            )
            SELECT component, CAST(sum(milli_points) AS bigint) AS points FROM (
                SELECT component, milli_points FROM given
                UNION ALL
                SELECT b.component, b.milli_points FROM points_entry b JOIN given g ON b.reverses_entry_id = g.entry_id
                    AND b.kind = 'REFUND' AND b.staff_id = :staff
            ) every GROUP BY component ORDER BY component
        """), {"s": case.source, "i": case.source_event_id, "staff": case.staff_id})  # fmt: skip
        return {row.component: row.points for row in rows if row.points}

    async def case(self, read: Read, case_id: str) -> FraudCase | None:
        """One of them."""
        row = await read.row(select(tables.fraud_case).where(tables.fraud_case.c.case_id == case_id))
        return None if row is None else _made(FraudCase, row)

    async def decide_case(self, tx: Write, case_id: str, state: str, decider: str) -> None:
        """Note the decision."""
        stmt = update(tables.fraud_case).where(tables.fraud_case.c.case_id == case_id)
        await tx.execute(stmt.values(state=state, decider=decider))


async def _page(
    read: Read, table: Table, name: str, staff_id: str, after: tuple[datetime, str] | None, size: int
) -> list[Row[Any]]:
    place = (table.c.create_time, table.c[name])
    stmt = select(table).order_by(*(column.desc() for column in place)).limit(size)
    if staff_id:
        stmt = stmt.where(table.c.staff_id == staff_id)
    if after is not None:
        stmt = stmt.where(tuple_(*place) < tuple_(*after))
    return await read.rows(stmt)


def _made(kind: Callable[..., T], row: Row[Any]) -> T:
    """A value of a row's columns that it has."""
    return kind(**{each.name: getattr(row, each.name) for each in fields(kind)})  # type: ignore[arg-type]
