"""Sums of the ledger and of events, by grouping sets: every level in one scan, so that levels cannot disagree.

Which rows a caller sees is decided in one place, Postgres' row-level security on org_id (kit/domains.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from services.kit.db import Read

DIMENSIONS = {
    "period": "accrual_id", "day": "business_date", "province": "province", "city": "city", "district": "district",
    "grid": "grid", "staff": "staff_id", "customer": "customer_key", "product": "product_id", "category": "category",
    "channel": "channel", "customer_type": "customer_type", "component": "component",
}  # fmt: skip
"""Dimension → column of the facts."""

_LEVELS = ("province", "city", "district", "grid")
_TREE = """
    WITH RECURSIVE tree AS (
        SELECT org_id, org_id AS at, level, parent_org_id FROM organisation
        UNION ALL
        SELECT t.org_id, o.org_id, o.level, o.parent_org_id
        FROM tree t JOIN organisation o ON o.org_id = t.parent_org_id
    ), place AS (
        SELECT org_id, max(at) FILTER (WHERE level = 'province') AS province,
            max(at) FILTER (WHERE level = 'city') AS city,
            max(at) FILTER (WHERE level = 'district') AS district,
            max(at) FILTER (WHERE level = 'grid') AS grid
        FROM tree GROUP BY org_id
    ), fact AS (
        SELECT accrual_id, business_date, org_id, staff_id, customer_key, product_id, category, channel, customer_type,
            component, milli_points, CAST(0 AS bigint) AS fen, 0 AS new, 0 AS churned, 0 AS kept, 0 AS events
        FROM points_entry WHERE account NOT LIKE 'budget:%' AND accrual_id BETWEEN :first AND :last
        UNION ALL
        SELECT to_char(e.business_date, 'YYYY-MM'), e.business_date, e.org_id, e.staff_id, e.customer_key, e.product_id,
            e.category, e.channel, e.customer_type,
            CASE WHEN e.type IN ('NEW', 'UPGRADE') THEN 'development' ELSE 'stock' END, 0, e.amount_fen,
            (e.type = 'NEW')::int, (e.type = 'CHURN')::int,
            (e.type IN ('RENEW', 'RETAIN', 'UPGRADE', 'ACTIVATE'))::int, 1
        FROM business_event e WHERE e.state = 'SCORED' AND e.type NOT IN ('REFUND', 'ADJUSTMENT')
            AND to_char(e.business_date, 'YYYY-MM') BETWEEN :first AND :last
        UNION ALL
        SELECT to_char(r.business_date, 'YYYY-MM'), r.business_date, o.org_id, o.staff_id, o.customer_key, o.product_id,
            o.category, o.channel, o.customer_type,
            CASE WHEN o.type IN ('NEW', 'UPGRADE') THEN 'development' ELSE 'stock' END,
            0, -least(o.amount_fen, CASE WHEN r.amount_fen = 0 THEN o.amount_fen ELSE r.amount_fen END),
            -(o.type = 'NEW' AND (r.amount_fen = 0 OR r.amount_fen >= o.amount_fen))::int, 0, 0, 0
        FROM business_event r JOIN business_event o
            ON (o.source, o.source_event_id) = (r.source, r.origin_event_id)
        WHERE r.state = 'SCORED' AND r.type = 'REFUND' AND to_char(r.business_date, 'YYYY-MM') BETWEEN :first AND :last
    )
"""
_MEASURES = """
    CAST(coalesce(sum(milli_points), 0) AS bigint) AS points,
    CAST(coalesce(sum(milli_points) FILTER (WHERE component = 'development'), 0) AS bigint) AS development,
    CAST(coalesce(sum(milli_points) FILTER (WHERE component = 'stock'), 0) AS bigint) AS stock,
    CAST(coalesce(sum(fen), 0) AS bigint) AS fen, CAST(coalesce(sum(new), 0) AS bigint) AS new,
    CAST(coalesce(sum(churned), 0) AS bigint) AS churned, CAST(coalesce(sum(kept), 0) AS bigint) AS kept,
    CAST(coalesce(sum(events), 0) AS bigint) AS events
"""


@dataclass(frozen=True)
class Cell:
    """One cell of the analysis: dimensions' values of its level, and the measures."""

    values: Mapping[str, str]
    points: int
    development: int
    stock: int
    fen: int
    new: int
    churned: int
    kept: int
    events: int


@dataclass(frozen=True)
class Sum:
    """What an employee has by one rule."""

    component: str
    kind: str
    rule_id: str
    entries: int
    milli_points: int


class Analysis:
    """Reads the facts."""

    async def cells(
        self, read: Read, months: tuple[str, str], dimensions: Sequence[str], filters: Mapping[str, str],
        place: int, size: int,
    ) -> list[Cell]:  # fmt: skip
        """Every level of a roll-up in the order of `dimensions`, the total first, from a place on."""
        columns = [f"CAST({DIMENSIONS[name]} AS text)" for name in dimensions]
        shown = "".join(f", {column} AS d{n}, grouping({column}) AS g{n}" for n, column in enumerate(columns))
        sets = f"GROUP BY ROLLUP ({', '.join(columns)})" if columns else ""
        wheres = "".join(f" AND CAST({DIMENSIONS[name]} AS text) = :f{n}" for n, name in enumerate(sorted(filters)))
        level = " + ".join(f"grouping({column})" for column in columns) or "0"
        order = f"ORDER BY {level} DESC" + "".join(f", {column}" for column in columns) if columns else ""
        stmt = (
            f"{_TREE} SELECT {_MEASURES}{shown} FROM fact LEFT JOIN place USING (org_id)"
            f" WHERE true{wheres} {sets} {order} OFFSET :place LIMIT :size"
        )
        params = {"first": months[0], "last": months[1], "place": place, "size": size}
        params |= {f"f{n}": filters[name] for n, name in enumerate(sorted(filters))}
        return [_cell(row, dimensions) for row in await read.rows(text(stmt), params)]

    async def unit(self, read: Read, org_id: str, months: tuple[str, str]) -> tuple[list[Cell], int]:
        """A unit's cells by month, the total first, and how many of its employees have points."""
        inside = (
            "WITH RECURSIVE below AS (SELECT CAST(:org AS text) AS org_id UNION SELECT o.org_id FROM organisation o"
            " JOIN below b ON o.parent_org_id = b.org_id) "
        )
        tree = _TREE.replace("WITH RECURSIVE ", inside.rstrip() + ", ", 1)
        stmt = (
            f"{tree} SELECT {_MEASURES}, accrual_id AS d0, grouping(accrual_id) AS g0,"
            " count(DISTINCT staff_id) FILTER (WHERE staff_id <> '' AND milli_points <> 0) AS staff"
            " FROM fact WHERE org_id IN (SELECT org_id FROM below) GROUP BY ROLLUP (accrual_id)"
            " ORDER BY grouping(accrual_id) DESC, accrual_id"
        )
        rows = await read.rows(text(stmt), {"org": org_id, "first": months[0], "last": months[1]})
        return [_cell(row, ["period"]) for row in rows], int(rows[0].staff) if rows else 0

    async def statement(self, read: Read, staff_id: str, period_id: str) -> list[Sum]:
        """What an employee has in a period, by component, kind and rule."""
        rows = await read.rows(text("""
            SELECT component, kind, rule_id, count(*) AS entries, CAST(sum(milli_points) AS bigint) AS points
            FROM points_entry WHERE staff_id = :staff AND staff_id <> '' AND period_id = :period
            GROUP BY component, kind, rule_id ORDER BY component, kind, rule_id
        """), {"staff": staff_id, "period": period_id})  # fmt: skip
        return [Sum(r.component, r.kind, r.rule_id, r.entries, r.points) for r in rows]

    async def balance(self, read: Read, staff_id: str, period_id: str) -> int:
        """The balance of an employee's account in a period."""
        stmt = text("SELECT coalesce(sum(milli_points), 0) FROM points_entry WHERE account = :a AND period_id = :p")
        return int(await read.value(stmt, {"a": f"staff:{staff_id}", "p": period_id}))

    async def field(self, read: Read, staff_id: str, period_id: str) -> tuple[int, int]:
        """(customers of an employee's field in a month as known now, those of them who left in it)."""
        row = await read.row(text("""
            WITH mine AS (
                SELECT DISTINCT customer_key FROM responsibility_field
                WHERE staff_id = :staff AND known_to IS NULL AND place = ''
                    AND valid_from < to_date(:period, 'YYYY-MM') + interval '1 month'
                    AND (valid_to IS NULL OR valid_to > to_date(:period, 'YYYY-MM'))
            )
            SELECT count(*) AS customers, count(*) FILTER (WHERE EXISTS (
                SELECT FROM business_event e WHERE e.customer_key = mine.customer_key AND e.type = 'CHURN'
                    AND e.state = 'SCORED' AND to_char(e.business_date, 'YYYY-MM') = :period)) AS churned FROM mine
        """), {"staff": staff_id, "period": period_id})  # fmt: skip
        assert row is not None
        return row.customers, row.churned

    async def capped(self, read: Read, key: tuple[str, str]) -> int:
        """What the caps have taken of the employee who made an event, in the day and the month that it falls in."""
        return int(await read.value(text("""
            SELECT coalesce(sum(p.milli_points), 0) FROM business_event e JOIN points_entry p
                ON p.kind = 'CAP' AND p.staff_id = e.staff_id AND p.staff_id <> ''
                AND p.accrual_id = to_char(e.business_date, 'YYYY-MM')
                AND (p.business_date IS NULL OR p.business_date = e.business_date)
            WHERE (e.source, e.source_event_id) = (:s, :i)
        """), {"s": key[0], "i": key[1]}))  # fmt: skip


def _cell(row: Any, dimensions: Sequence[str]) -> Cell:
    values = {name: getattr(row, f"d{n}") or "" for n, name in enumerate(dimensions) if not getattr(row, f"g{n}")}
    return Cell(values, row.points, row.development, row.stock, row.fen, row.new, row.churned, row.kept, row.events)
