"""The ledger and its periods."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, text
from sqlalchemy.dialects.postgresql import insert

from services.kit.db import Read, Write
from services.points import tables
from services.points.domain import ledger
from services.points.domain.ledger import Entry
from services.points.domain.period import Period, State

_t = tables.entry
_COLUMNS = ("entry_id", "account", "staff_id", "org_id", "milli_points", "source", "source_event_id", "event_id",
            "rule_set_id", "rule_set_sha256", "rule_id", "component", "role", "share_bps", "assignment_id",
            "reverses_entry_id", "period_id", "occur_time")  # fmt: skip
_PAGE = 20_000


@dataclass(frozen=True, slots=True)
class Posted:
    """An entry with its place in the ledger."""

    entry: Entry
    posting: int
    post_time: datetime


@dataclass(frozen=True, slots=True)
class Line:
    """An employee's total in a period."""

    rank: int
    staff_id: str
    org_id: str
    milli_points: int
    entries: int
    first_time: datetime
    top_entry_id: str


class Ledger:
    """The tables `points_entry` and `period`."""

    async def lock(self, tx: Write) -> None:
        """Until the transaction ends, nobody else posts, changes reference data or publishes rules.

        One writer at a time is what makes a refund see its origin, and an event its owners, whatever the order.
        """
        await tx.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('points.ledger', 0))"))

    async def append(self, tx: Write, entries: Sequence[Entry], now: datetime) -> None:
        """Post entries of whole events in one statement; the database refuses what does not balance."""
        if not entries:
            return
        periods = [{"period_id": each, "state": State.OPEN.value} for each in sorted({e.period_id for e in entries})]
        await tx.execute(insert(tables.period).on_conflict_do_nothing(), periods)
        records = [
            (e.entry_id, e.account, e.staff_id, e.org_id, e.milli_points, e.source, e.source_event_id, e.event_id,
             e.rule_set_id, e.rule_set_sha256, e.rule_id, e.component, e.role, e.share_bps, e.assignment_id,
             e.reverses_entry_id or None, e.period_id, e.occur_time, now)
            for e in entries
        ]  # fmt: skip
        await tx.copy(_t.name, (*_COLUMNS, "post_time"), records)

    async def posted(self, read: Read, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], list[Posted]]:
        """Entries of events, in posting order."""
        stmt = text(
            "SELECT e.* FROM unnest(CAST(:sources AS text[]), CAST(:ids AS text[])) AS k(source, id)"
            " JOIN points_entry e ON (e.source, e.source_event_id) = (k.source, k.id) ORDER BY e.posting"
        )
        found: dict[tuple[str, str], list[Posted]] = {}
        params = {"sources": [source for source, _ in keys], "ids": [name for _, name in keys]}
        for row in await read.rows(stmt, params):
            found.setdefault((row.source, row.source_event_id), []).append(_posted(row))
        return found

    async def get(self, read: Read, entry_id: str) -> Posted | None:
        """One entry."""
        row = await read.row(select(_t).where(_t.c.entry_id == entry_id))
        return None if row is None else _posted(row)

    async def page(
        self, read: Read, *, staff_id: str, event_id: str, period_id: str, after: int, size: int
    ) -> list[Posted]:
        """Entries after a posting number in its order; "" keeps all employees, events or periods."""
        stmt = select(_t).where(_t.c.posting > after).order_by(_t.c.posting).limit(size)
        for column, value in ((_t.c.staff_id, staff_id), (_t.c.event_id, event_id), (_t.c.period_id, period_id)):
            if value:
                stmt = stmt.where(column == value)
        return [_posted(row) for row in await read.rows(stmt)]

    async def leaders(self, read: Read, period_id: str, after: tuple[int, str] | None, size: int) -> list[Line]:
        """Employees of a period after (milli_points, staff_id), the highest first, then by employee."""
        stmt = text("""
            WITH total AS (
                SELECT staff_id, sum(milli_points) AS milli_points, count(*) AS entries, min(occur_time) AS first_time,
                    max(org_id) AS org_id, (array_agg(entry_id ORDER BY milli_points DESC, entry_id))[1] AS top_entry_id
                FROM points_entry WHERE period_id = :period AND staff_id <> '' GROUP BY staff_id
            ), ranked AS (SELECT *, rank() OVER (ORDER BY milli_points DESC) FROM total)
            SELECT rank, staff_id, coalesce(staff.org_id, ranked.org_id) AS org_id, CAST(milli_points AS bigint),
                entries, first_time, top_entry_id
            FROM ranked LEFT JOIN staff USING (staff_id)
            WHERE :first OR milli_points < :milli_points OR (milli_points = :milli_points AND staff_id > :staff_id)
            ORDER BY milli_points DESC, staff_id LIMIT :size
        """)
        milli_points, staff_id = after or (0, "")
        params = {
            "period": period_id,
            "first": after is None,
            "milli_points": milli_points,
            "staff_id": staff_id,
            "size": size,
        }
        return [Line(*tuple(row)) for row in await read.rows(stmt, params)]

    async def period(self, read: Read, period_id: str) -> Period | None:
        """A period with its sums and the checksum of its entries.

        They are read in pages. There is one writer and nothing changes, so the entries up to the last posting number
        are the same set in every page, whatever is posted meanwhile.
        """
        state = await read.value(select(tables.period.c.state).where(tables.period.c.period_id == period_id))
        if state is None:
            return None
        last = await read.value(select(func.coalesce(func.max(_t.c.posting), 0)))
        whole, entries, milli_points, after = ledger.Digest(), 0, 0, ""
        columns = (_t.c.entry_id, _t.c.account, _t.c.milli_points, _t.c.period_id, _t.c.reverses_entry_id)
        base = select(*columns).where(_t.c.period_id == period_id, _t.c.posting <= last)
        base = base.order_by(_t.c.entry_id).limit(_PAGE)
        while rows := await read.rows(base.where(_t.c.entry_id > after)):
            whole.add((r.entry_id, r.account, r.milli_points, r.period_id, r.reverses_entry_id or "") for r in rows)
            entries += len(rows)
            milli_points += sum(r.milli_points for r in rows if not r.account.startswith("budget:"))
            after = rows[-1].entry_id
        return Period(period_id, State(state), entries, milli_points, whole.hex())


def _entry(row: Row[Any]) -> Entry:
    values: Iterable[Any] = (
        getattr(row, name) or "" if name == "reverses_entry_id" else getattr(row, name) for name in _COLUMNS
    )
    return Entry(*values)


def _posted(row: Row[Any]) -> Posted:
    return Posted(_entry(row), row.posting, row.post_time)
