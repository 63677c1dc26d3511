"""The event log: tell one event, follow them all."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from services.ingest import refusals, store
from services.ingest.domain import position
from services.ingest.domain.event import Event, Told, problems_of
from services.kit import telemetry
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.errors import cursor_invalid, invalid_field
from services.kit.ids import Ids
from services.kit.waiting import pause

_BATCH = 1000
_POLL_SECONDS = 0.2
_CHECKPOINT_SECONDS = 5.0


@dataclass(frozen=True)
class Published:
    """The platform's id of an event, and whether it was known before."""

    event_id: str
    duplicate: bool


@dataclass(frozen=True)
class Watched:
    """The next events, or (none) a checkpoint; `traceparent` is that of the first."""

    cursor: str
    events: tuple[Event, ...]
    traceparent: str


class Events:
    """The event log."""

    def __init__(
        self, db: Database, events: store.Events, identities: store.Identities, clock: Clock, ids: Ids
    ) -> None:
        self._db = db
        self._events = events
        self._identities = identities
        self._clock = clock
        self._ids = ids

    async def publish(self, told: Told) -> Published:
        """Write an event once for ever; it is durable when this returns.

        Raises invalid_field, customer_not_found, event_id_reused.
        """
        problems = problems_of(told)
        if problems:
            raise invalid_field(problems)
        new = Event(
            event_id=self._ids(),
            source=told.source,
            source_event_id=told.source_event_id,
            type=told.type,
            customer_key=told.customer_key,
            occur_time=told.occur_time,
            receive_time=self._clock(),
            attributes=told.attributes,
        )
        async with self._db.begin() as tx:
            if new.customer_key and not await self._identities.exists(tx, new.customer_key):
                raise refusals.customer_not_found(new.customer_key)
            if await self._events.add(tx, new, telemetry.traceparent()):
                await tx.commit()
                return Published(new.event_id, duplicate=False)
            earlier = await self._events.same(tx, new)
        if not earlier:
            raise refusals.event_id_reused(told.source, told.source_event_id)
        return Published(earlier, duplicate=True)

    async def watch(
        self, cursor: str, prefixes: Sequence[str], at_once: int, stop: asyncio.Event
    ) -> AsyncIterator[Watched]:
        """Events in the order of their commits, for ever, at most `at_once` together. Raises cursor_invalid."""
        at = position.decode(cursor)
        spoken = time.monotonic()
        while not stop.is_set():
            async with self._db.read() as read:
                page = await self._events.after(read, at, prefixes, _BATCH)
            if at[0] > page.head:
                raise cursor_invalid(cursor)  # the log was restored from an older copy
            for start in range(0, len(page.events), at_once):
                part = page.events[start : start + at_once]
                at = part[-1].position
                yield Watched(position.encode(at), tuple(each.event for each in part), part[0].traceparent)
                spoken = time.monotonic()
            if len(page.events) == _BATCH:
                continue
            at = max(at, (page.horizon, 0))
            if time.monotonic() - spoken >= _CHECKPOINT_SECONDS:
                yield Watched(position.encode(at), (), "")
                spoken = time.monotonic()
            await pause(_POLL_SECONDS, stop)
