"""Alarms of the supply, and the deliveries that they are found by."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, text, update

from services.ingest.domain.delivery import Delivery
from services.ingest.domain.freshness import Alarm, Finding, Kind, Span
from services.ingest.store.deliveries import DELIVERY, delivery_of
from services.ingest.tables import alarm as table
from services.ingest.tables import delivery
from services.kit.db import Read, Write

_LATEST = 200
"""Deliveries of one feed that its alarms are found by."""


class Alarms:
    """The table `alarm`."""

    async def lock(self, tx: Write) -> None:
        """Let nobody else raise or clear until the end of the transaction."""
        await tx.execute(text("SELECT pg_advisory_xact_lock(hashtext('ingest.alarm'))"))

    async def recent(self, read: Read) -> dict[str, list[Delivery]]:
        """The latest deliveries of every feed, in order of arrival."""
        number = func.row_number().over(partition_by=delivery.c.feed_id, order_by=delivery.c.delivery_no.desc())
        ranked = select(delivery.c.delivery_id, number.label("number")).subquery()
        stmt = (
            select(*DELIVERY)
            .join(ranked, ranked.c.delivery_id == delivery.c.delivery_id)
            .where(ranked.c.number <= _LATEST, delivery.c.feed_id != "")
            .order_by(delivery.c.delivery_no)
        )
        return _by_feed(await read.rows(stmt))

    async def sent(self, read: Read, span: Span) -> dict[str, list[Delivery]]:
        """The deliveries of every feed whose period is in a span."""
        stmt = select(*DELIVERY).where(delivery.c.period.between(span.since, span.until), delivery.c.feed_id != "")
        return _by_feed(await read.rows(stmt.order_by(delivery.c.delivery_no)))

    async def first_periods(self, read: Read) -> dict[str, date]:
        """The first period of every feed that ever had one."""
        stmt = select(delivery.c.feed_id, func.min(delivery.c.period).label("first")).group_by(delivery.c.feed_id)
        return {row.feed_id: row.first for row in await read.rows(stmt) if row.first is not None}

    async def open(self, read: Read) -> list[Alarm]:
        """Those that are not cleared."""
        return [_alarm(row) for row in await read.rows(select(table).where(table.c.clear_time.is_(None)))]

    async def page(self, read: Read, *, feed_id: str, open_only: bool, before: int | None, size: int) -> list[Alarm]:
        """The latest raised first, those before the number `before`."""
        stmt = select(table).order_by(table.c.alarm_no.desc()).limit(size)
        stmt = stmt.where(table.c.feed_id == feed_id) if feed_id else stmt
        stmt = stmt.where(table.c.clear_time.is_(None)) if open_only else stmt
        stmt = stmt.where(table.c.alarm_no < before) if before is not None else stmt
        return [_alarm(row) for row in await read.rows(stmt)]

    async def raised(self, read: Read, since: datetime, until: datetime) -> list[Alarm]:
        """Those that were raised between two instants."""
        stmt = select(table).where(table.c.raise_time >= since, table.c.raise_time < until)
        return [_alarm(row) for row in await read.rows(stmt)]

    async def add(self, tx: Write, alarm_id: str, feed_id: str, found: Finding, now: datetime) -> None:
        """Raise one."""
        row = {"alarm_id": alarm_id, "feed_id": feed_id, "kind": found.kind.value, "period": found.period}
        await tx.execute(insert(table).values(**row, message=found.message, raise_time=now))

    async def renew(self, tx: Write, alarm_id: str, found: Finding) -> None:
        """Say what an open one is about now."""
        stmt = update(table).where(table.c.alarm_id == alarm_id)
        await tx.execute(stmt.values(period=found.period, message=found.message))

    async def clear(self, tx: Write, alarm_id: str, now: datetime) -> None:
        """Its reason is gone."""
        await tx.execute(update(table).where(table.c.alarm_id == alarm_id).values(clear_time=now))


def _by_feed(rows: Sequence[Row[Any]]) -> dict[str, list[Delivery]]:
    found: dict[str, list[Delivery]] = defaultdict(list)
    for row in rows:
        found[row.feed_id].append(delivery_of(row))
    return found


def _alarm(row: Row[Any]) -> Alarm:
    values = {each.name: getattr(row, each.name) for each in fields(Alarm)}
    return Alarm(**{**values, "kind": Kind(row.kind)})
