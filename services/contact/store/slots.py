"""Slots, their contents and schedules, pushes, what channels show, what customers did there."""

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Table, func, insert, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert

from services.contact import tables
from services.contact.domain.slot import (
    APPROVED,
    Board,
    Content,
    Picture,
    Push,
    Schedule,
    Slot,
    SlotEvent,
    Suggestion,
    Value,
)
from services.kit.db import Read, Write

_slot, _content, _schedule, _push = tables.slot, tables.content, tables.schedule, tables.push

_EVENTS = text(
    """
    INSERT INTO slot_event (slot_id, event_id, org_id, kind, content_id, customer_key, event_time, worth_fen, page,
        grant_id)
    SELECT told.slot_id, told.event_id, :org_id, told.kind, told.content_id, told.customer_key, told.event_time,
        told.worth_fen, told.page, told.grant_id
    FROM unnest(CAST(:slot_id AS text[]), CAST(:event_id AS text[]), CAST(:kind AS text[]),
        CAST(:content_id AS text[]), CAST(:customer_key AS bigint[]), CAST(:event_time AS timestamptz[]),
        CAST(:worth_fen AS bigint[]), CAST(:page AS text[]), CAST(:grant_id AS text[]))
        AS told (slot_id, event_id, kind, content_id, customer_key, event_time, worth_fen, page, grant_id)
    ORDER BY told.slot_id, told.event_id
    ON CONFLICT DO NOTHING
    """
)

_VALUES = text(
    """
    SELECT slot_id, CASE WHEN :by_content THEN content_id ELSE '' END AS content_id,
        count(*) FILTER (WHERE kind = 'EXPOSURE') AS exposures, count(*) FILTER (WHERE kind = 'CLICK') AS clicks,
        count(*) FILTER (WHERE kind = 'LOGIN') AS logins, count(*) FILTER (WHERE kind = 'HANDLING') AS handlings,
        count(*) FILTER (WHERE kind = 'ACTIVATION') AS activations, count(*) FILTER (WHERE kind = 'VISIT') AS visits,
        coalesce(sum(worth_fen) FILTER (WHERE kind = 'ACTIVATION'), 0)::bigint AS income_fen
    FROM slot_event
    WHERE event_time >= :begin AND event_time < :ends
        AND (slot_id, CASE WHEN :by_content THEN content_id ELSE '' END) > (:after_slot, :after_content)
    GROUP BY 1, 2 ORDER BY 1, 2 LIMIT :size
    """
)


class Slots:
    """The tables `slot`, `channel_state`, `picture`, `content` and `schedule`."""

    async def add_slot(self, tx: Write, slot: Slot, org_id: str) -> bool:
        """Register a slot; false when the id is taken."""
        row = {**dataclasses.asdict(slot), "org_id": org_id}
        return bool(await tx.execute(upsert(_slot).values(row).on_conflict_do_nothing()))

    async def slot(self, read: Read, slot_id: str) -> Slot | None:
        """One slot."""
        row = await read.row(_of(Slot, _slot).where(_slot.c.slot_id == slot_id))
        return None if row is None else Slot(**row._asdict())

    async def put_state(self, tx: Write, slot_id: str, state: str) -> None:
        """Make a slot valid or disabled."""
        await tx.execute(update(_slot).where(_slot.c.slot_id == slot_id).values(state=state))

    async def slots(
        self, read: Read, *, channel: str = "", after: tuple[datetime, str] | None = None, size: int
    ) -> list[Slot]:
        """Slots, the latest first, those after (create_time, slot_id)."""
        stmt = _of(Slot, _slot).order_by(_slot.c.create_time.desc(), _slot.c.slot_id.desc()).limit(size)
        if channel:
            stmt = stmt.where(_slot.c.channel == channel)
        if after is not None:
            stmt = stmt.where(tuple_(_slot.c.create_time, _slot.c.slot_id) < tuple_(*after))
        return [Slot(**row._asdict()) for row in await read.rows(stmt)]

    async def put_channel(self, tx: Write, channel: str, valid: bool, now: datetime) -> None:
        """Switch a channel."""
        values = {"valid": valid, "update_time": now}
        stmt = upsert(tables.channel_state).values(channel=channel, **values)
        await tx.execute(stmt.on_conflict_do_update(index_elements=["channel"], set_=values))

    async def channels(self, read: Read) -> dict[str, tuple[bool, datetime]]:
        """Channel → (valid, since when), of those that somebody switched."""
        rows = await read.rows(select(tables.channel_state))
        return {row.channel: (row.valid, row.update_time) for row in rows}

    async def add_picture(self, tx: Write, picture: Picture) -> bool:
        """Register a picture; false when the code is taken by another one."""
        await tx.execute(upsert(tables.picture).values(dataclasses.asdict(picture)).on_conflict_do_nothing())
        return await self.picture(tx, picture.code) == picture

    async def picture(self, read: Read, code: str) -> Picture | None:
        """One picture."""
        row = await read.row(select(tables.picture).where(tables.picture.c.code == code))
        return None if row is None else Picture(**row._asdict())

    async def add_content(self, tx: Write, content: Content, org_id: str) -> Content:
        """Keep the next version of a content; whoever does the same at once waits."""
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended('contact.content.' || :name, 0))")
        await tx.execute(lock, {"name": f"{content.slot_id}|{content.name}"})
        same = (_content.c.slot_id == content.slot_id, _content.c.name == content.name)
        last = await tx.value(select(func.max(_content.c.version)).where(*same))
        content = dataclasses.replace(content, version=int(last or 0) + 1)
        await tx.execute(insert(_content).values({**dataclasses.asdict(content), "org_id": org_id}))
        return content

    async def content(self, tx: Write, content_id: str) -> Content | None:
        """One content, held until the transaction ends."""
        row = await tx.row(_of(Content, _content).where(_content.c.content_id == content_id).with_for_update())
        return None if row is None else Content(**row._asdict())

    async def put_content_state(self, tx: Write, content_id: str, state: str) -> None:
        """Move a content."""
        await tx.execute(update(_content).where(_content.c.content_id == content_id).values(state=state))

    async def contents(
        self, read: Read, *, slot_id: str = "", after: tuple[str, str, int] | None = None, size: int
    ) -> list[Content]:
        """Contents by slot, name and version, those after them."""
        at = (_content.c.slot_id, _content.c.name, _content.c.version)
        stmt = _of(Content, _content).order_by(*at).limit(size)
        stmt = stmt.where(_content.c.slot_id == slot_id) if slot_id else stmt
        stmt = stmt.where(tuple_(*at) > tuple_(*after)) if after else stmt
        return [Content(**row._asdict()) for row in await read.rows(stmt)]

    async def lock_slot(self, tx: Write, slot_id: str) -> Slot | None:
        """One slot, whose schedules nobody else changes until the transaction ends."""
        row = await tx.row(_of(Slot, _slot).where(_slot.c.slot_id == slot_id).with_for_update())
        return None if row is None else Slot(**row._asdict())

    async def add_schedule(self, tx: Write, schedule: Schedule, org_id: str) -> None:
        """Keep a schedule."""
        await tx.execute(insert(_schedule).values({**dataclasses.asdict(schedule), "org_id": org_id}))

    async def schedule(self, read: Read, schedule_id: str) -> Schedule | None:
        """One schedule."""
        row = await read.row(_of(Schedule, _schedule).where(_schedule.c.schedule_id == schedule_id))
        return None if row is None else Schedule(**row._asdict())

    async def cancel_schedule(self, tx: Write, schedule_id: str) -> None:
        """Take a schedule back."""
        await tx.execute(update(_schedule).where(_schedule.c.schedule_id == schedule_id).values(cancelled=True))

    async def schedules(
        self, read: Read, *, slot_id: str = "", after: tuple[str, datetime, str] | None = None, size: int = 100_000
    ) -> list[Schedule]:
        """Schedules by slot, start and id, those after them."""
        at = (_schedule.c.slot_id, _schedule.c.start_time, _schedule.c.schedule_id)
        stmt = _of(Schedule, _schedule).order_by(*at).limit(size)
        stmt = stmt.where(_schedule.c.slot_id == slot_id) if slot_id else stmt
        stmt = stmt.where(tuple_(*at) > tuple_(*after)) if after else stmt
        return [Schedule(**row._asdict()) for row in await read.rows(stmt)]

    async def board(self, read: Read, now: datetime) -> Board:
        """Everything that slots may show from now on."""
        slots = [Slot(**row._asdict()) for row in await read.rows(_of(Slot, _slot))]
        live = _of(Schedule, _schedule).where(_schedule.c.end_time > now, ~_schedule.c.cancelled)
        schedules: dict[str, list[Schedule]] = {}
        for row in await read.rows(live):
            schedules.setdefault(row.slot_id, []).append(Schedule(**row._asdict()))
        contents = await read.rows(_of(Content, _content).where(_content.c.state == APPROVED))
        switched = await self.channels(read)
        return Board(
            slots={slot.slot_id: slot for slot in slots},
            contents={row.content_id: Content(**row._asdict()) for row in contents},
            schedules=schedules,
            disabled_channels=frozenset(channel for channel, (valid, _) in switched.items() if not valid),
        )


class Pushes:
    """The tables `push` and `slot_sync`."""

    async def add(self, tx: Write, push: Push, org_id: str) -> None:
        """Keep a push."""
        row = {**dataclasses.asdict(push), "org_id": org_id, "content_ids": list(push.content_ids)}
        await tx.execute(insert(_push).values(row))

    async def for_update(self, tx: Write, push_id: str) -> Push | None:
        """One push, held until the transaction ends."""
        row = await tx.row(_of(Push, _push).where(_push.c.push_id == push_id).with_for_update())
        return None if row is None else Push(**{**row._asdict(), "content_ids": tuple(row.content_ids)})

    async def put_state(self, tx: Write, push_id: str, state: str) -> None:
        """Move a push."""
        await tx.execute(update(_push).where(_push.c.push_id == push_id).values(state=state))

    async def page(
        self,
        read: Read,
        *,
        channel: str = "",
        live_at: datetime | None = None,
        after: tuple[datetime, str] | None = None,
        size: int,
    ) -> list[Push]:
        """Pushes, the latest first, those after (create_time, push_id); those live at a time, or all."""
        stmt = _of(Push, _push).order_by(_push.c.create_time.desc(), _push.c.push_id.desc()).limit(size)
        stmt = stmt.where(_push.c.channel == channel) if channel else stmt
        if live_at is not None:
            stmt = stmt.where(_push.c.expire_time > live_at, _push.c.state != "WITHDRAWN")
        if after is not None:
            stmt = stmt.where(tuple_(_push.c.create_time, _push.c.push_id) < tuple_(*after))
        return [Push(**{**row._asdict(), "content_ids": tuple(row.content_ids)}) for row in await read.rows(stmt)]

    async def of_ids(self, read: Read, content_ids: Sequence[str]) -> dict[str, Content]:
        """Contents by id."""
        rows = await read.rows(_of(Content, _content).where(_content.c.content_id.in_(content_ids)))
        return {row.content_id: Content(**row._asdict()) for row in rows}

    async def report(self, tx: Write, slot_id: str, sha256: str, org_id: str, now: datetime) -> None:
        """Keep what a channel says that it shows."""
        values = {"sha256": sha256, "report_time": now}
        stmt = upsert(tables.slot_sync).values(slot_id=slot_id, org_id=org_id, **values)
        await tx.execute(stmt.on_conflict_do_update(index_elements=["slot_id"], set_=values))

    async def reported(self, read: Read) -> dict[str, tuple[str, datetime]]:
        """Slot → (checksum, when) as channels reported."""
        rows = await read.rows(select(tables.slot_sync))
        return {row.slot_id: (row.sha256, row.report_time) for row in rows}


class SlotEvents:
    """The tables `slot_event` and `suggestion`."""

    async def add(self, tx: Write, events: Sequence[SlotEvent], org_id: str) -> int:
        """Keep events, each once; gives how many were new."""
        names = [field.name for field in dataclasses.fields(SlotEvent)]
        columns: Mapping[str, Any] = {name: [getattr(event, name) for event in events] for name in names}
        return await tx.execute(_EVENTS, {**columns, "org_id": org_id})

    async def values(
        self,
        read: Read,
        *,
        begin: datetime,
        ends: datetime,
        by_content: bool,
        after: tuple[str, str] = ("", ""),
        size: int = 100_000,
    ) -> list[Value]:
        """What slots brought over a span, those after (slot, content)."""
        params = {"begin": begin, "ends": ends, "by_content": by_content, "size": size}
        # Before the first slot there is nothing; "" is also the default's content, so the first page starts below it.
        rows = await read.rows(_VALUES, {**params, "after_slot": after[0], "after_content": after[1]})
        return [Value(**row._asdict()) for row in rows]

    async def suggest(self, tx: Write, found: Sequence[tuple[str, Suggestion]], now: datetime) -> int:
        """Log suggestions under their ids, each pair of contents once; gives how many are new."""
        new = 0
        for suggestion_id, one in found:
            row = {**dataclasses.asdict(one), "suggestion_id": suggestion_id, "org_id": "", "create_time": now}
            new += await tx.execute(upsert(tables.suggestion).values(row).on_conflict_do_nothing())
        return new

    async def suggestions(
        self, read: Read, after: tuple[datetime, str] | None, size: int
    ) -> list[tuple[str, datetime, Suggestion]]:
        """(id, when, suggestion), the latest first."""
        table = tables.suggestion
        stmt = select(table).order_by(table.c.create_time.desc(), table.c.suggestion_id.desc()).limit(size)
        if after is not None:
            stmt = stmt.where(tuple_(table.c.create_time, table.c.suggestion_id) < tuple_(*after))
        names = [field.name for field in dataclasses.fields(Suggestion)]
        return [
            (row.suggestion_id, row.create_time, Suggestion(**{name: getattr(row, name) for name in names}))
            for row in await read.rows(stmt)
        ]


def _of(kind: type[Any], table: Table) -> Any:
    """The columns of a table that a dataclass has, under its names."""
    return select(*[table.c[field.name] for field in dataclasses.fields(kind)])
