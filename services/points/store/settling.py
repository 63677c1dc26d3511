"""What the period's own rules need of the ledger."""

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Row, text

from services.kit.db import Read
from services.points.domain.batch import portion
from services.points.domain.settling import Key, Line, Made


class Settling:
    """Reads the lines that tiers and caps look at."""

    async def lines(
        self, read: Read, rule_set_id: str, accrual_id: str, staff: Collection[str], customers: Collection[int]
    ) -> list[Line]:
        """Lines of events of a month, of these employees or these customers, net by rule and day."""
        stmt = text("""
            SELECT staff_id, customer_key, business_date, rule_id, CAST(sum(milli_points) AS bigint) AS points
            FROM (
                SELECT * FROM points_entry
                WHERE accrual_id = :accrual AND staff_id = ANY(:staff) AND staff_id <> ''
                UNION ALL
                SELECT * FROM points_entry
                WHERE accrual_id = :accrual AND customer_key = ANY(:customers) AND staff_id <> ALL(:staff)
            ) theirs
            WHERE rule_set_id = :rules AND kind IN ('EVENT', 'REFUND') AND account NOT LIKE 'budget:%'
            GROUP BY staff_id, customer_key, business_date, rule_id
        """)
        params = {"accrual": accrual_id, "rules": rule_set_id, "staff": list(staff), "customers": list(customers)}
        rows = await read.rows(stmt, params)
        return [Line(r.staff_id, r.customer_key, r.business_date, r.rule_id, r.points) for r in rows if r.points]

    async def made(self, read: Read, days: tuple[date, date], accrual_id: str, staff: Collection[str]) -> list[Made]:
        """What employees made in a month on the days of a version, and what was taken back in it of what they made."""
        first = date(int(accrual_id[:4]), int(accrual_id[5:]), 1)
        last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
        params = {"staff": list(staff), "first": first, "last": last, "begin": days[0], "end": days[1]}
        rows = await read.rows(text(f"{_MADE} AND e.business_date BETWEEN :first AND :last"), params)
        found = [Made(row.staff_id, _texts(row), row.amount_fen, row.business_date, 1, row.amount_fen) for row in rows]
        taken: dict[tuple[str, str], int] = {}
        for row in await read.rows(text(_TAKEN_BACK), params):
            key, whole = (row.source, row.source_event_id), max(1, row.amount_fen)
            before = taken.get(key, 0)
            taken[key] = portion(row.refund_fen, row.amount_fen, before) or before
            if first <= row.refund_date <= last:
                fen = min(taken[key], row.amount_fen) - min(before, row.amount_fen)
                sign = -1 if taken[key] == whole else 0
                found.append(Made(row.staff_id, _texts(row), row.amount_fen, row.business_date, sign, -fen))
        return found

    async def posted(
        self, read: Read, rule_set_id: str, accrual_id: str, staff: Collection[str], customers: Collection[int]
    ) -> Mapping[Key, int]:
        """What tiers and caps have posted, of these employees by themselves and of these customers' fields."""
        stmt = text("""
            SELECT rule_id, customer_key, business_date, staff_id, CAST(sum(milli_points) AS bigint) AS points
            FROM (
                SELECT * FROM points_entry
                WHERE accrual_id = :accrual AND staff_id = ANY(:staff) AND kind IN ('TIER', 'CAP') AND customer_key = 0
                UNION ALL
                SELECT * FROM points_entry
                WHERE accrual_id = :accrual AND customer_key = ANY(:customers) AND kind IN ('TIER', 'CAP')
                    AND customer_key <> 0
            ) theirs
            WHERE rule_set_id = :rules AND account NOT LIKE 'budget:%'
            GROUP BY rule_id, customer_key, business_date, staff_id
        """)
        params = {"accrual": accrual_id, "rules": rule_set_id, "staff": list(staff), "customers": list(customers)}
        return {
            (row.rule_id, row.customer_key, row.business_date, row.staff_id): row.points
            for row in await read.rows(stmt, params)
            if row.points
        }


_MADE = """
    SELECT e.staff_id, e.type, e.product_id, e.category, e.channel, e.staff_role, e.customer_type, e.amount_fen,
        e.business_date
    FROM business_event e
    WHERE e.state = 'SCORED' AND e.type NOT IN ('REFUND', 'ADJUSTMENT') AND e.staff_id = ANY(:staff)
        AND e.staff_id <> ''
        AND e.business_date BETWEEN :begin AND :end
"""

_TAKEN_BACK = f"""
    SELECT o.*, r.amount_fen AS refund_fen, r.business_date AS refund_date
    FROM (SELECT e.source, e.source_event_id, {_MADE.partition("SELECT")[2]}) o
    JOIN business_event r ON r.type = 'REFUND' AND r.state = 'SCORED'
        AND (r.source, r.origin_event_id) = (o.source, o.source_event_id)
    ORDER BY r.occur_time, r.source, r.source_event_id
"""


def _texts(row: Row[Any]) -> dict[str, str]:
    return {"type": row.type, "product": row.product_id, "category": row.category, "channel": row.channel,
            "staff_role": row.staff_role, "customer_type": row.customer_type}  # fmt: skip
