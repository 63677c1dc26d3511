"""The ledger and its periods."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, TextClause, func, select, text
from sqlalchemy.dialects.postgresql import insert

from services.kit.db import Read, Write
from services.points import tables
from services.points.domain import proof
from services.points.domain.ledger import Entry
from services.points.domain.period import Period, State, posts_in

_t = tables.entry
_COLUMNS = ("entry_id", "account", "staff_id", "org_id", "milli_points", "source", "source_event_id", "event_id",
            "rule_set_id", "rule_set_sha256", "rule_id", "component", "role", "share_bps", "assignment_id",
            "reverses_entry_id", "period_id", "occur_time", "kind", "accrual_id", "customer_key", "business_date",
            "event_type", "product_id", "category", "channel", "customer_type", "run_id")  # fmt: skip
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

    async def append(
        self, tx: Write, entries: Sequence[Entry], now: datetime, opened: Collection[str] = ()
    ) -> None:  # fmt: skip
        """Post entries of whole events in one statement; the database refuses what does not balance.

        `opened` are periods that are known to be there: the others are opened here.
        """
        if not entries:
            return
        if new := sorted({e.period_id for e in entries}.difference(opened)):
            periods = [{"period_id": each, "state": State.OPEN.value} for each in new]
            await tx.execute(insert(tables.period).on_conflict_do_nothing(), periods)
        records = [
            (e.entry_id, e.account, e.staff_id, e.org_id, e.milli_points, e.source, e.source_event_id, e.event_id,
             e.rule_set_id, e.rule_set_sha256, e.rule_id, e.component, e.role, e.share_bps, e.assignment_id,
             e.reverses_entry_id or None, e.period_id, e.occur_time, e.kind, e.accrual_id or e.period_id,
             e.customer_key, e.business_date, e.event_type, e.product_id, e.category, e.channel,
             e.customer_type, e.run_id, now)
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
        """A period with its sums and the checksum of what it says; None when the ledger does not have it."""
        row = await read.row(select(tables.period).where(tables.period.c.period_id == period_id))
        if row is None:
            return None
        entries, points, _, _, late = await self.sums(read, period_id)
        sha256 = row.sha256 or await self.proof(read, "period_id", period_id)
        accrued = await self.proof(read, "accrual_id", period_id) if late or row.sha256 else sha256
        return Period(period_id, State(row.state), entries, points, sha256, accrued, late)

    async def sums(self, read: Read, period_id: str) -> tuple[int, int, str, str, int]:
        """Entries of a period, its milli-points, its checksum once locked ("" before), "", and its late entries."""
        row = await read.row(text("""
            SELECT count(*) AS entries, count(*) FILTER (WHERE accrual_id <> period_id) AS late,
                coalesce(sum(milli_points) FILTER (WHERE account NOT LIKE 'budget:%'), 0) AS points,
                (SELECT sha256 FROM period WHERE period_id = :period) AS sha256
            FROM points_entry WHERE period_id = :period
        """), {"period": period_id})  # fmt: skip
        assert row is not None
        return row.entries, int(row.points), row.sha256 or "", "", row.late

    async def proof(self, read: Read, column: str, period_id: str) -> str:
        """The checksum of what is posted in a period, or of what belongs to a month (`accrual_id`), wherever posted.

        Read in pages. There is one writer and nothing changes, so what was posted up to the last number is the same
        in every page, whatever is posted meanwhile.
        """
        last = await read.value(select(func.coalesce(func.max(_t.c.posting), 0)))
        whole = proof.Proof()
        after: tuple[Any, ...] = (datetime(1, 1, 2, tzinfo=UTC), "", "", "", "", "")
        stmt = text(f"""
            SELECT occur_time, source, source_event_id, rule_id, role, staff_id,
                CAST(sum(milli_points) AS bigint) AS points
            FROM points_entry WHERE {column} = :period AND posting <= :last AND kind NOT IN ('TIER', 'CAP')
                AND account NOT LIKE 'budget:%'
                AND (occur_time, source, source_event_id, rule_id, role, staff_id) > (:t, :a, :b, :c, :d, :e)
            GROUP BY occur_time, source, source_event_id, rule_id, role, staff_id
            ORDER BY occur_time, source, source_event_id, rule_id, role, staff_id LIMIT {_PAGE}
        """)
        params = {"period": period_id, "last": last}
        while rows := await self._lines(read, stmt, params | dict(zip("tabcde", after, strict=True))):
            whole.add_texts([
                (proof.micros(r[0]), str(r[1]), str(r[2]), str(r[3]), str(r[4]), str(r[5]), int(r.points))
                for r in rows if r.points
            ])  # fmt: skip
            after = tuple(rows[-1])[:6]
        own: list[Any] = await read.rows(text(f"""
            SELECT rule_id, customer_key, business_date, staff_id, CAST(sum(milli_points) AS bigint) AS points
            FROM points_entry WHERE {column} = :period AND posting <= :last AND kind IN ('TIER', 'CAP')
                AND account NOT LIKE 'budget:%' GROUP BY 1, 2, 3, 4
        """), params)  # fmt: skip
        whole.add_period(
            (r.rule_id, r.customer_key, str(r.business_date or ""), r.staff_id, r.points) for r in own if r.points
        )
        return whole.hex()

    async def _lines(self, read: Read, stmt: TextClause, params: Mapping[str, Any]) -> list[Any]:
        return list(await read.rows(stmt, params))

    async def posts_in(self, read: Read, months: Collection[str]) -> dict[str, str]:
        """For each closed month the period that takes its late entries: the next that is not closed."""
        return posts_in(await self.states(read), months)

    async def states(self, read: Read) -> dict[str, str]:
        """The state of every period that was opened."""
        return {row.period_id: row.state for row in await read.rows(text("SELECT period_id, state FROM period"))}


def _entry(row: Row[Any]) -> Entry:
    values: Iterable[Any] = (
        getattr(row, name) or "" if name == "reverses_entry_id" else getattr(row, name) for name in _COLUMNS
    )
    return Entry(*values)


def _posted(row: Row[Any]) -> Posted:
    return Posted(_entry(row), row.posting, row.post_time)
