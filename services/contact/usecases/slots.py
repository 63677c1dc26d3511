"""Slots: registered, filled on schedule, asked in real time, pushed in advance, judged by clicks."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from services.contact.domain import slot as domain
from services.contact.domain.policy import CHANNELS
from services.contact.domain.slot import (
    Board,
    Content,
    Picture,
    Push,
    Rotation,
    Schedule,
    Showing,
    Slot,
    SlotEvent,
    Suggestion,
    Value,
    checksum,
    content_moved,
    fitting,
    forbidden,
    overlapping,
    push_moved,
    pushable,
    showings,
    suggestions,
)
from services.contact.refusals import schedule_overlaps, slot_invalid, slot_not_found, slot_state, thing_not_found
from services.contact.store import Store
from services.kit import domains, idempotency
from services.kit.clock import Clock
from services.kit.db import Database, Read, Write
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids

FRESH = timedelta(seconds=1)
"""A look at the board is good for so long: what changed elsewhere is shown by then."""

T = TypeVar("T")

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Status:
    """What a channel should show in a slot against what it says that it shows."""

    slot: Slot
    wanted: str
    reported: str
    report_time: datetime | None

    @property
    def mismatch(self) -> bool:
        """It shows something else, or never said what it shows although there is something to show."""
        return self.reported != self.wanted if self.reported else self.wanted != checksum(())


class Registry:
    """What slots may show now, looked up in memory: the side of slots that decisions for a customer build on.

    `board()` is at most FRESH old; `Board.due` and `Board.reason` say what a slot may show, or why only its default.
    """

    def __init__(self, db: Database, store: Store, clock: Clock) -> None:
        self._db = db
        self._store = store
        self._clock = clock
        self._board: Board | None = None
        self._looked = _BEGINNING

    async def board(self) -> Board:
        """All slots with what is scheduled in them."""
        now = self._clock()
        if self._board is None or now - self._looked >= FRESH:
            with domains.whole():  # what is looked up is kept for other callers too
                async with self._db.read() as read:
                    self._board = await self._store.slots.board(read, now)
            self._looked = now
        return self._board

    def forget(self) -> None:
        """Something changed here: look again."""
        self._board = None


class Slots:
    """Everything that is asked of slots."""

    def __init__(self, db: Database, store: Store, clock: Clock, ids: Ids, registry: Registry) -> None:
        self._db = db
        self._store = store
        self._clock = clock
        self._ids = ids
        self._registry = registry
        self._rotation = Rotation()

    async def create_slot(self, key: RequestKey, slot: Slot, org_id: str) -> Slot:
        """Register a slot. Raises slot_invalid, also when the id is taken."""
        if (slot.width_px == 0) != (slot.height_px == 0):
            raise slot_invalid("slot.height_px", "and width_px are both 0, or neither")
        async with self._db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                made = dataclasses.replace(slot, create_time=self._clock())
                if not await self._store.slots.add_slot(tx, made, org_id):
                    raise slot_invalid("slot.slot_id", "is taken")
                await self._done(tx, key)
                return made
            return await self._slot(tx, slot.slot_id)

    async def put_state(self, key: RequestKey, slot_id: str, state: str) -> Slot:
        """Make a slot valid or disabled. Raises slot_not_found."""
        async with self._db.begin() as tx:
            slot = await self._slot(tx, slot_id)
            if await idempotency.remember(tx, key) is None:
                await self._store.slots.put_state(tx, slot_id, state)
                await self._done(tx, key)
                return dataclasses.replace(slot, state=state)
            return slot

    async def slots(self, channel: str, after: tuple[datetime, str] | None, size: int) -> list[Slot]:
        """Slots, the latest first."""
        async with self._db.read() as read:
            return await self._store.slots.slots(read, channel=channel, after=after, size=size)

    async def put_channel(self, key: RequestKey, channel: str, valid: bool) -> tuple[str, bool, datetime | None]:
        """Switch a channel."""
        now = self._clock()
        async with self._db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                await self._store.slots.put_channel(tx, channel, valid, now)
                await self._done(tx, key)
        return channel, valid, now

    async def channels(self) -> list[tuple[str, bool, datetime | None]]:
        """(channel, valid, since when) of all channels."""
        async with self._db.read() as read:
            known = await self._store.slots.channels(read)
        return [(one, *known.get(one, (True, None))) for one in sorted(CHANNELS)]

    async def create_picture(self, key: RequestKey, picture: Picture) -> Picture:
        """Register a picture. Raises slot_invalid when the code is another picture's."""
        async with self._db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                if not await self._store.slots.add_picture(tx, picture):
                    raise slot_invalid("picture.code", "is taken by another picture")
                await self._done(tx, key)
        return picture

    async def create_content(self, key: RequestKey, content: Content, org_id: str) -> tuple[Content, Slot]:
        """Write a version. Raises slot_not_found, slot_invalid, campaign_not_found by its field."""
        async with self._db.begin() as tx:
            slot = await self._slot(tx, content.slot_id)
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await self._content(tx, earlier["content_id"]), slot
            picture = await self._store.slots.picture(tx, content.picture_code) if content.picture_code else None
            fitting(content, slot, picture)
            if content.campaign_id and await self._store.campaigns.get(tx, content.campaign_id) is None:
                raise slot_invalid("content.campaign_id", "names no campaign")
            named = dataclasses.replace(content, content_id=self._ids(), author=key.caller)
            made = await self._store.slots.add_content(tx, named, org_id)
            await self._done(tx, key, content_id=made.content_id)
        return made, slot

    async def move_content(self, key: RequestKey, content_id: str, verb: str) -> tuple[Content, Slot]:
        """Approve or withdraw a content. Raises thing_not_found, slot_state, not_four_eyes."""
        async with self._db.begin() as tx:
            content = await self._content(tx, content_id)
            slot = await self._slot(tx, content.slot_id)
            if await idempotency.remember(tx, key) is not None:
                return content, slot
            content = dataclasses.replace(content, state=content_moved(content, verb, key.caller))
            await self._store.slots.put_content_state(tx, content_id, content.state)
            await self._done(tx, key)
        return content, slot

    async def contents(
        self, slot_id: str, after: tuple[str, str, int] | None, size: int
    ) -> list[tuple[Content, Slot | None]]:
        """Contents by slot, name and version, with their slots."""
        async with self._db.read() as read:
            found = await self._store.slots.contents(read, slot_id=slot_id, after=after, size=size)
            slots = {one: await self._store.slots.slot(read, one) for one in {content.slot_id for content in found}}
        return [(content, slots[content.slot_id]) for content in found]

    async def schedule(self, key: RequestKey, schedule: Schedule, org_id: str) -> tuple[Schedule, list[Schedule]]:
        """Schedule an approved content; gives what overlaps. Raises thing_not_found, slot_state, schedule_overlaps."""
        if schedule.end_time <= schedule.start_time:
            raise slot_invalid("schedule.end_time", "is not after start_time")
        async with self._db.begin() as tx:
            content = await self._content(tx, schedule.content_id)
            slot = await self._store.slots.lock_slot(tx, content.slot_id)
            assert slot is not None, "a content has its slot"
            earlier = await idempotency.remember(tx, key)
            named = earlier["schedule_id"] if earlier else self._ids()
            made = dataclasses.replace(schedule, schedule_id=named, slot_id=slot.slot_id)
            others = await self._store.slots.schedules(tx, slot_id=slot.slot_id)
            overlaps = overlapping(made, [one for one in others if one.schedule_id != named])
            if earlier is not None:
                return made, overlaps
            if content.state != domain.APPROVED:
                raise slot_state("content", content.content_id, content.state)
            refused = forbidden(made, slot, overlaps)
            if refused:
                raise schedule_overlaps([one.schedule_id for one in refused])
            await self._store.slots.add_schedule(tx, made, org_id)
            await self._done(tx, key, schedule_id=named)
        return made, overlaps

    async def cancel(self, key: RequestKey, schedule_id: str) -> Schedule:
        """Take a schedule back; one that was taken back stays so. Raises thing_not_found."""
        async with self._db.begin() as tx:
            schedule = await self._store.slots.schedule(tx, schedule_id)
            if schedule is None:
                raise thing_not_found("schedule", schedule_id)
            if await idempotency.remember(tx, key) is None:
                await self._store.slots.cancel_schedule(tx, schedule_id)
                await self._done(tx, key)
        return dataclasses.replace(schedule, cancelled=True)

    async def schedules(self, slot_id: str, after: tuple[str, datetime, str] | None, size: int) -> list[Schedule]:
        """Schedules by slot, start and id."""
        async with self._db.read() as read:
            return await self._store.slots.schedules(read, slot_id=slot_id, after=after, size=size)

    async def showings(self, slot_ids: Sequence[str], moment: str) -> list[Showing]:
        """What slots show now: the call in real time, answered from memory."""
        return showings(await self._registry.board(), self._rotation, slot_ids, self._clock(), moment)

    async def push(self, key: RequestKey, slot_id: str, ttl: timedelta, org_id: str) -> tuple[Push, list[Content]]:
        """Give what is due in a slot of data form to its channel. Raises slot_not_found, page_not_pushed."""
        now = self._clock()
        async with self._db.begin() as tx:
            slot = pushable(await self._slot(tx, slot_id))
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                push = await self._push(tx, earlier["push_id"])
                kept = await self._store.pushes.of_ids(tx, push.content_ids)
                return push, [kept[one] for one in push.content_ids]
            contents = _due(await self._store.slots.board(tx, now), slot_id, now)
            push = Push(
                push_id=self._ids(),
                slot_id=slot_id,
                channel=slot.channel,
                state=domain.PUSHED,
                content_ids=tuple(content.content_id for content in contents),
                sha256=checksum(contents),
                create_time=now,
                expire_time=now + ttl,
            )
            await self._store.pushes.add(tx, push, org_id)
            await self._done(tx, key, push_id=push.push_id)
        return push, contents

    async def move_push(self, key: RequestKey, push_id: str, verb: str) -> Push:
        """Acknowledge or withdraw a push. Raises thing_not_found, slot_state."""
        now = self._clock()
        async with self._db.begin() as tx:
            push = await self._push(tx, push_id)
            if await idempotency.remember(tx, key) is None:
                push = dataclasses.replace(push, state=push_moved(push, verb, now))
                await self._store.pushes.put_state(tx, push_id, push.state)
                await self._done(tx, key)
        return dataclasses.replace(push, state=push.state_at(now))

    async def pushes(
        self, channel: str, live: bool, after: tuple[datetime, str] | None, size: int
    ) -> list[tuple[Push, list[Content]]]:
        """Pushes, the latest first, with their contents."""
        now = self._clock()
        async with self._db.read() as read:
            found = await self._store.pushes.page(
                read, channel=channel, live_at=now if live else None, after=after, size=size
            )
            contents = await self._store.pushes.of_ids(read, [one for push in found for one in push.content_ids])
        return [
            (dataclasses.replace(push, state=push.state_at(now)), [contents[one] for one in push.content_ids])
            for push in found
        ]

    async def report_sync(self, key: RequestKey, slot_id: str, sha256: str, org_id: str) -> Status:
        """Keep what a channel shows. Raises slot_not_found."""
        now = self._clock()
        async with self._db.begin() as tx:
            slot = await self._slot(tx, slot_id)
            wanted = checksum(_due(await self._store.slots.board(tx, now), slot_id, now))
            if await idempotency.remember(tx, key) is None:
                await self._store.pushes.report(tx, slot_id, sha256, org_id, now)
                await self._done(tx, key)
        return Status(slot, wanted, sha256, now)

    async def statuses(self, mismatch: bool, after: str, size: int) -> list[Status]:
        """What channels should show against what they show, by slot; with `mismatch` the alarms alone."""
        now = self._clock()
        async with self._db.read() as read:
            board, reported = await self._store.slots.board(read, now), await self._store.pushes.reported(read)
        found = [
            Status(slot, checksum(_due(board, slot_id, now)), *reported.get(slot_id, ("", None)))
            for slot_id, slot in sorted(board.slots.items())
            if slot_id > after
        ]
        return [one for one in found if one.mismatch or not mismatch][:size]

    async def record(self, key: RequestKey, events: Sequence[SlotEvent], org_id: str) -> tuple[int, int]:
        """Keep what customers did, each event once; gives how many were new and how many known."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return earlier["new"], earlier["known"]
            new = await self._store.slot_events.add(tx, events, org_id)
            await self._done(tx, key, new=new, known=len(events) - new)
        return new, len(events) - new

    async def values(
        self, begin: datetime | None, ends: datetime | None, by_content: bool, after: tuple[str, str], size: int
    ) -> list[Value]:
        """What slots brought over a span."""
        begin, ends = begin or _BEGINNING, ends or self._clock() + timedelta(days=1)
        async with self._db.read() as read:
            return await self._store.slot_events.values(
                read, begin=begin, ends=ends, by_content=by_content, after=after, size=size
            )

    async def suggest(self) -> int:
        """Log what clicks speak for, each pair of contents once; gives how many suggestions are new."""
        now = self._clock()
        async with self._db.begin() as tx:
            begin, ends = now - timedelta(days=30), now + timedelta(days=1)
            values = await self._store.slot_events.values(tx, begin=begin, ends=ends, by_content=True)
            new = await self._store.slot_events.suggest(tx, [(self._ids(), one) for one in suggestions(values)], now)
            await tx.commit()
        return new

    async def suggestions(
        self, after: tuple[datetime, str] | None, size: int
    ) -> list[tuple[str, datetime, Suggestion]]:
        """What was logged, the latest first."""
        async with self._db.read() as read:
            return await self._store.slot_events.suggestions(read, after, size)

    async def _done(self, tx: Write, key: RequestKey, **answer: object) -> None:
        await idempotency.answer(tx, key, answer)
        await tx.commit()
        self._registry.forget()

    async def _slot(self, read: Read, slot_id: str) -> Slot:
        return _there(await self._store.slots.slot(read, slot_id), lambda: slot_not_found(slot_id))

    async def _content(self, tx: Write, content_id: str) -> Content:
        return _there(await self._store.slots.content(tx, content_id), lambda: thing_not_found("content", content_id))

    async def _push(self, tx: Write, push_id: str) -> Push:
        return _there(await self._store.pushes.for_update(tx, push_id), lambda: thing_not_found("push", push_id))


def _there(found: T | None, refusal: Callable[[], Exception]) -> T:
    if found is None:
        raise refusal()
    return found


def _due(board: Board, slot_id: str, now: datetime) -> list[Content]:
    """What a slot may show now, without the moments: a channel that shows by itself knows of none."""
    found = [] if board.reason(slot_id) else board.due(slot_id, now)
    return [board.contents[content_id] for content_id in dict.fromkeys(one.content_id for one in found)]
