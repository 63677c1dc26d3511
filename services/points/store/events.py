"""Business events, each once, and those that wait in suspense."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

from sqlalchemy import Row, func, literal, select, text
from sqlalchemy.dialects.postgresql import insert

from services.kit.db import Read, Write
from services.points import tables
from services.points.domain.event import REFUND, Event, Reason
from services.points.domain.ledger import standing
from services.points.domain.posting import Origin, Outcome
from services.points.store.ledger import Ledger

_t, _reused = tables.event, tables.event_reused
_COLUMNS = ("source", "source_event_id", "event_id", "org_id", "type", "customer_key", "product_id", "staff_id",
            "channel", "amount_fen", "origin_event_id", "occur_time", "receive_time", "business_date", "delivery_id",
            "line", "state", "reason", "message", "tried_revision", "category", "staff_role",
            "customer_type", "cell_id", "grid_id")  # fmt: skip
_KEYED = "FROM unnest(CAST(:sources AS text[]), CAST(:ids AS text[])) AS k(source, id)"


class Events:
    """The table `business_event`."""

    async def known(self, read: Read, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Event]:
        """Those of the events that are known."""
        if not keys:
            return {}
        stmt = text(f"SELECT e.* {_KEYED} JOIN business_event e ON (e.source, e.source_event_id) = (k.source, k.id)")
        return {event.key: event for event in map(_event, await read.rows(stmt, _pair(keys)))}

    async def add(self, tx: Write, outcomes: Sequence[tuple[Outcome, str, date]], revision: int) -> None:
        """Keep new events with what became of them, each with its employee's organisation and its business day."""
        records = [
            (o.event.source, o.event.source_event_id, o.event.event_id, org_id, o.event.type, o.event.customer_key,
             o.event.product_id, o.event.staff_id, o.event.channel, o.event.amount_fen, o.event.origin_event_id,
             o.event.occur_time, o.event.receive_time, day, o.event.delivery_id, o.event.line, *_state(o), revision,
             o.category, o.staff_role, o.event.customer_type, o.event.cell_id, o.event.grid_id)
            for o, org_id, day in outcomes
        ]  # fmt: skip
        await tx.copy(_t.name, _COLUMNS, records)

    async def retried(self, tx: Write, outcomes: Sequence[tuple[Outcome, str]], revision: int) -> None:
        """Note what became of suspended events that were tried again, each with its employee's organisation."""
        if not outcomes:
            return
        states = [_state(outcome) for outcome, _ in outcomes]
        stmt = text(
            "UPDATE business_event e SET state = k.state, reason = k.reason, message = k.message, org_id = k.org_id,"
            " tried_revision = :revision, category = k.category, staff_role = k.staff_role"
            " FROM unnest(CAST(:sources AS text[]), CAST(:ids AS text[]), CAST(:states AS text[]),"
            " CAST(:reasons AS text[]), CAST(:messages AS text[]), CAST(:orgs AS text[]),"
            " CAST(:categories AS text[]), CAST(:roles AS text[]))"
            " AS k(source, id, state, reason, message, org_id, category, staff_role)"
            " WHERE (e.source, e.source_event_id) = (k.source, k.id)"
        )
        values = {
            "states": [state for state, _, _ in states],
            "reasons": [reason for _, reason, _ in states],
            "messages": [message for _, _, message in states],
            "orgs": [org_id for _, org_id in outcomes],
            "categories": [outcome.category for outcome, _ in outcomes],
            "roles": [outcome.staff_role for outcome, _ in outcomes],
            "revision": revision,
        }
        await tx.execute(stmt, _pair([outcome.event.key for outcome, _ in outcomes]) | values)

    async def origins(self, read: Read, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Origin]:
        """The events that refunds take back, as they stand, with their entries."""
        stmt = text(
            "SELECT e.source, e.source_event_id, e.type, e.state = 'SCORED' AS scored,"
            " coalesce(e.amount_fen, 0) AS amount, (SELECT coalesce(array_agg(coalesce(r.amount_fen, 0)), '{}')"
            " FROM business_event r WHERE r.type = 'REFUND' AND r.state = 'SCORED'"
            " AND (r.source, r.origin_event_id) = (e.source, e.source_event_id)) AS refunds"
            f" {_KEYED} JOIN business_event e ON (e.source, e.source_event_id) = (k.source, k.id)"
        )
        rows = await read.rows(stmt, _pair(keys))
        posted = await Ledger().posted(read, [(row.source, row.source_event_id) for row in rows])
        found = {}
        for row in rows:
            key = (row.source, row.source_event_id)
            whole = max(1, row.amount)
            taken = min(whole, sum(whole if each == 0 else each for each in row.refunds))
            entries = standing([each.entry for each in posted.get(key, ())])
            found[key] = Origin(row.type, row.scored, taken >= whole, entries, row.amount, taken)
        return found

    async def facts(self, read: Read, key: tuple[str, str]) -> tuple[str, str]:
        """(category, employee's role) that an event was scored with."""
        row = await read.row(select(_t).where(_t.c.source == key[0], _t.c.source_event_id == key[1]))
        return ("", "") if row is None else (row.category, row.staff_role)

    async def latest(self, read: Read, first: date, last: date) -> Event | None:
        """The latest scored event of some days."""
        stmt = select(_t).where(_t.c.state == "SCORED", _t.c.business_date.between(first, last))
        order = (_t.c.occur_time.desc(), _t.c.source.desc(), _t.c.source_event_id.desc())
        row = await read.row(stmt.order_by(*order).limit(1))
        return None if row is None else _event(row)

    async def waiting_for(self, read: Read, keys: Collection[tuple[str, str]]) -> list[Event]:
        """Suspended refunds of these events, by arrival."""
        stmt = text(
            f"SELECT e.* {_KEYED} JOIN business_event e ON (e.source, e.origin_event_id) = (k.source, k.id)"
            " WHERE e.type = 'REFUND' AND e.state = 'SUSPENDED' ORDER BY e.arrival"
        )
        return [_event(row) for row in await read.rows(stmt, _pair(keys))]

    async def due(self, read: Read, revision: int, size: int) -> list[Event]:
        """Suspended events that were not tried at this revision yet, those that came first."""
        stmt = select(_t).where(_t.c.state == "SUSPENDED", _t.c.tried_revision < revision)
        return [_event(row) for row in await read.rows(stmt.order_by(_t.c.arrival).limit(size))]

    async def any_due(self, read: Read) -> bool:
        """Whether an event is due; cheap."""
        due = "SELECT FROM business_event, revision WHERE state = 'SUSPENDED' AND tried_revision < revision"
        return bool(await read.value(text(f"SELECT EXISTS ({due})")))

    async def suspended(self, read: Read, after: int, size: int) -> list[tuple[int, Event, str, str]]:
        """(arrival, event, reason, message) of suspended events after an arrival, in its order."""
        told = [_t.c[column.name] for column in _reused.c]
        waiting = select(*told, _t.c.reason, _t.c.message).where(_t.c.state == "SUSPENDED", _t.c.arrival > after)
        why = literal(Reason.EVENT_ID_REUSED.value), literal("the source told another event under this id before")
        # Who sees the event that was told first sees the other one: it has no organisation of its own.
        first = select(_t.c.source).where(_t.c.source == _reused.c.source,
                                          _t.c.source_event_id == _reused.c.source_event_id)  # fmt: skip
        reused = select(_reused, *why).where(_reused.c.arrival > after, first.exists())
        rows = await read.rows(waiting.union_all(reused).order_by("arrival").limit(size))
        return [(row.arrival, _event(row), row.reason, row.message) for row in rows]

    async def add_reused(self, tx: Write, events: Sequence[Event]) -> None:
        """Keep events under an id that had told another event; one that is kept already changes nothing."""
        if events:
            await tx.execute(insert(_reused).on_conflict_do_nothing(), [asdict(event) for event in events])

    async def suspense(self, read: Read, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, str]]:
        """(reason, message) of those of the events that are suspended."""
        if not keys:
            return {}
        stmt = text(
            "SELECT e.source, e.source_event_id, e.reason, e.message"
            f" {_KEYED} JOIN business_event e ON (e.source, e.source_event_id) = (k.source, k.id)"
            " WHERE e.state = 'SUSPENDED'"
        )
        rows = await read.rows(stmt, _pair(keys))
        return {(row.source, row.source_event_id): (row.reason, row.message) for row in rows}

    async def scored_between(self, read: Read, first: date, last: date) -> date | None:
        """The last business day within first and last of which an event is scored already."""
        stmt = select(func.max(_t.c.business_date)).where(
            _t.c.state == "SCORED", _t.c.type != REFUND, _t.c.business_date.between(first, last)
        )
        day: date | None = await read.value(stmt)
        return day


def _pair(keys: Collection[tuple[str, str]]) -> dict[str, Any]:
    return {"sources": [source for source, _ in keys], "ids": [name for _, name in keys]}


def _state(outcome: Outcome) -> tuple[str, str, str]:
    if outcome.doubt is None:
        return "SCORED", "", ""
    return "SUSPENDED", outcome.doubt.reason.value, outcome.doubt.message


def _event(row: Row[Any]) -> Event:
    return Event(
        row.event_id, row.source, row.source_event_id, row.type, row.customer_key, row.product_id, row.staff_id,
        row.channel, row.amount_fen, row.origin_event_id, row.occur_time, row.receive_time, row.delivery_id, row.line,
        row.customer_type, row.cell_id, row.grid_id,
    )  # fmt: skip
