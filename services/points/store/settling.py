"""What the period's own rules need of the ledger."""

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Row, text

from services.kit.db import Read
from services.points.domain.batch import portion
from services.points.domain.settling import Key, Line, Made

# The columns of the indexes of migration 0006, so that the entries of a month are read from an index alone.
_ENTRIES = "SELECT staff_id, customer_key, business_date, rule_id, milli_points, rule_set_id, kind FROM points_entry"


class Settling:
    """Reads the lines that tiers and caps look at."""

    async def lines(
        self, read: Read, rule_set_id: str, accrual_id: str, staff: Collection[str], customers: Collection[int]
    ) -> list[Line]:
        """Lines of events of a month, of these employees or these customers, net by rule and day."""
        stmt = text(f"""
            SELECT staff_id, customer_key, business_date, rule_id, CAST(sum(milli_points) AS bigint) AS points
            FROM (
                {_ENTRIES} WHERE accrual_id = :accrual AND staff_id = ANY(:staff) AND staff_id <> ''
                UNION ALL
                {_ENTRIES} WHERE accrual_id = :accrual AND customer_key = ANY(:customers) AND customer_key <> 0
                    AND staff_id <> ALL(:staff) AND account NOT LIKE 'budget:%'
            ) theirs
            WHERE rule_set_id = :rules AND kind IN ('EVENT', 'REFUND')
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
        found: list[Made] = []
        taken: dict[tuple[str, str], int] = {}
        for row in await read.rows(text(_MADE), params):
            if row.refund_id is None:
                found.append(Made(row.staff_id, _texts(row), row.amount_fen, row.business_date, 1, row.amount_fen))
                continue
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
        stmt = text(f"""
            SELECT rule_id, customer_key, business_date, staff_id, CAST(sum(milli_points) AS bigint) AS points
            FROM (
                {_ENTRIES} WHERE accrual_id = :accrual AND staff_id = ANY(:staff) AND staff_id <> ''
                    AND customer_key = 0
                UNION ALL
                {_ENTRIES} WHERE accrual_id = :accrual AND customer_key = ANY(:customers) AND customer_key <> 0
                    AND account NOT LIKE 'budget:%'
            ) theirs
            WHERE rule_set_id = :rules AND kind IN ('TIER', 'CAP')
            GROUP BY rule_id, customer_key, business_date, staff_id
        """)
        params = {"accrual": accrual_id, "rules": rule_set_id, "staff": list(staff), "customers": list(customers)}
        return {
            (row.rule_id, row.customer_key, row.business_date, row.staff_id): row.points
            for row in await read.rows(stmt, params)
            if row.points
        }


_EVENT = """e.source, e.source_event_id, e.staff_id, e.type, e.product_id, e.category, e.channel, e.staff_role,
        e.customer_type, e.amount_fen, e.business_date"""

_THEIRS = """e.state = 'SCORED' AND e.type NOT IN ('REFUND', 'ADJUSTMENT')
        AND e.staff_id = ANY(:staff) AND e.staff_id <> '' AND e.business_date BETWEEN :begin AND :end"""

_MADE = f"""
    SELECT {_EVENT}, CAST(NULL AS timestamptz) AS refund_time, NULL AS refund_source, NULL AS refund_id,
        CAST(NULL AS bigint) AS refund_fen, CAST(NULL AS date) AS refund_date
    FROM business_event e WHERE {_THEIRS} AND e.business_date BETWEEN :first AND :last
    UNION ALL
    SELECT {_EVENT}, r.occur_time, r.source, r.source_event_id, r.amount_fen, r.business_date
    FROM business_event e
    JOIN business_event r ON r.type = 'REFUND' AND r.state = 'SCORED'
        AND (r.source, r.origin_event_id) = (e.source, e.source_event_id)
    WHERE {_THEIRS}
    ORDER BY refund_time, refund_source, refund_id
"""


def _texts(row: Row[Any]) -> dict[str, str]:
    return {"type": row.type, "product": row.product_id, "category": row.category, "channel": row.channel,
            "staff_role": row.staff_role, "customer_type": row.customer_type}  # fmt: skip
