"""Projections of ingest's reference feeds, and the revision that grows with them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from services.kit.db import Read, Write
from services.points import tables
from services.points.domain import field
from services.points.domain.posting import Employee
from services.points.domain.reference import FEEDS

_field = tables.assignment
_LIVE = {
    "organisations": (tables.organisation, ("org_id", "parent_org_id", "level", "name")),
    "staff": (tables.staff, ("staff_id", "org_id", "role")),
    "products": (tables.product, ("product_id", "name", "category")),
}


class References:
    """What is known of organisations, employees, products and responsibility fields."""

    async def revision(self, read: Read) -> int:
        """The revision of reference data and rules."""
        return int(await read.value(select(tables.revision.c.revision)))

    async def grow(self, tx: Write) -> None:
        """Count a change: suspended events are to be tried again."""
        await tx.execute(update(tables.revision).values(revision=tables.revision.c.revision + 1))

    async def ready(self, read: Read) -> bool:
        """Whether every reference feed was loaded at least once."""
        stmt = select(func.count()).where(tables.reference_feed.c.feed_id.in_(FEEDS))
        return bool(await read.value(stmt) == len(FEEDS))

    async def manifest(self, read: Read, feed_id: str) -> str:
        """Which snapshot of the feed the projection holds; "" before the first."""
        stmt = select(tables.reference_feed.c.manifest).where(tables.reference_feed.c.feed_id == feed_id)
        return str(await read.value(stmt) or "")

    async def hold(self, tx: Write, feed_id: str, manifest: str, loaded: int, refused: int, now: datetime) -> None:
        """Note which snapshot the projection holds now."""
        values = {"manifest": manifest, "loaded_rows": loaded, "refused_rows": refused, "update_time": now}
        stmt = insert(tables.reference_feed).values(feed_id=feed_id, **values)
        await tx.execute(stmt.on_conflict_do_update(index_elements=["feed_id"], set_=values))

    async def replace(self, tx: Write, feed_id: str, rows: Mapping[str, Sequence[str]]) -> None:
        """Put rows by their id (in the columns of _LIVE) in the place of those that were known."""
        table, columns = _LIVE[feed_id]
        await tx.execute(delete(table))
        await tx.copy(table.name, columns, rows.values())

    async def employees(self, read: Read, staff_ids: Collection[str]) -> dict[str, Employee]:
        """Those of the employees that are known."""
        rows = await read.rows(
            text("SELECT staff_id, org_id, role FROM staff WHERE staff_id = ANY(:ids)"), {"ids": list(staff_ids)}
        )
        return {row.staff_id: Employee(row.org_id, row.role) for row in rows}

    async def categories(self, read: Read, product_ids: Collection[str]) -> dict[str, str]:
        """Category of those products that are known."""
        rows = await read.rows(
            text("SELECT product_id, category FROM product WHERE product_id = ANY(:ids)"), {"ids": list(product_ids)}
        )
        return {row.product_id: row.category for row in rows}

    async def known_now(self, read: Read, subjects: Collection[int]) -> dict[int, list[field.Assignment]]:
        """Assignments of subjects as known now."""
        if not subjects:
            return {}
        stmt = text("SELECT * FROM responsibility_field WHERE customer_key = ANY(:keys) AND known_to IS NULL")
        fields: dict[int, list[field.Assignment]] = {}
        for row in await read.rows(stmt, {"keys": list(subjects)}):
            fields.setdefault(row.customer_key, []).append(_assignment(row))
        return fields

    async def all_known_now(self, read: Read, *, places: bool) -> dict[int, field.Row]:
        """Every row of customers or of places that is known now, by assignment id."""
        which = _field.c.place != "" if places else _field.c.place == ""
        rows = await read.rows(select(_field).where(_field.c.known_to.is_(None), which))
        return {row.assignment_id: _assignment(row).row for row in rows}

    async def assignments(
        self, read: Read, subject: int, known: datetime, after: tuple[datetime, str, int] | None, size: int
    ) -> list[field.Assignment]:
        """Assignments of one subject as known at an instant, by (valid_from, staff_id, assignment_id)."""
        order = (_field.c.valid_from, _field.c.staff_id, _field.c.assignment_id)
        stmt = select(_field).where(_field.c.customer_key == subject, _field.c.known_from <= known)
        stmt = stmt.where(or_(_field.c.known_to.is_(None), _field.c.known_to > known)).order_by(*order).limit(size)
        if after is not None:
            when, staff_id, assignment_id = after
            place = (_field.c.valid_from > when) | ((_field.c.valid_from == when) & (_field.c.staff_id > staff_id))
            same = (_field.c.valid_from == when) & (_field.c.staff_id == staff_id)
            stmt = stmt.where(place | (same & (_field.c.assignment_id > assignment_id)))
        return [_assignment(row) for row in await read.rows(stmt)]

    async def assignment(self, read: Read, assignment_id: int) -> field.Assignment | None:
        """One assignment."""
        row = await read.row(select(_field).where(_field.c.assignment_id == assignment_id))
        return None if row is None else _assignment(row)

    async def learn(self, tx: Write, closed: Sequence[int], opened: Iterable[field.Row], now: datetime) -> None:
        """Close what is no longer so and open what is new, both known from the same instant on."""
        latest = await tx.value(select(func.max(func.greatest(_field.c.known_from, _field.c.known_to))))
        known = now if latest is None else max(now, latest + timedelta(microseconds=1))
        revision = await self.revision(tx) + 1  # what scoring sees once the change is counted
        if closed:
            stmt = text(
                "UPDATE responsibility_field SET known_to = :known, known_to_revision = :revision"
                " WHERE assignment_id = ANY(:ids)"
            )
            await tx.execute(stmt, {"known": known, "ids": list(closed), "revision": revision})
        rows = list(opened)
        orgs = await self.employees(tx, {row.staff_id for row in rows})
        columns = ("customer_key", "org_id", "staff_id", "role", "share_bps", "valid_from", "valid_to", "known_from",
                   "delivery_id", "line", "known_from_revision", "place")  # fmt: skip
        await tx.copy(
            _field.name,
            columns,
            [
                (r.customer_key, orgs[r.staff_id].org_id if r.staff_id in orgs else "", r.staff_id, r.role, r.share_bps,
                 r.valid_from, r.valid_to, known, r.delivery_id, r.line, revision, r.place)
                for r in rows
            ],
        )  # fmt: skip

    async def refuse(self, tx: Write, feed_id: str, refused: Iterable[tuple[field.Row, str]]) -> None:
        """Note which rows of a fields feed are refused now, in the place of those noted before."""
        await tx.execute(delete(tables.assignment_refused).where(tables.assignment_refused.c.feed_id == feed_id))
        records = [(row.delivery_id, row.line, why, feed_id) for row, why in refused]
        await tx.copy(tables.assignment_refused.name, ("delivery_id", "line", "why", "feed_id"), records)


def _assignment(row: Row[Any]) -> field.Assignment:
    told = field.Row(
        row.customer_key, row.staff_id, row.role, row.share_bps, row.valid_from, row.valid_to, row.delivery_id,
        row.line, row.place,
    )  # fmt: skip
    return field.Assignment(row.assignment_id, told, row.known_from, row.known_to)
