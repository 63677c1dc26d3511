"""The event log: tell events, follow them all."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from services.ingest import refusals, store
from services.ingest.domain.event import Event, Told, problems_of
from services.ingest.store.following import Wanted
from services.ingest.store.layers import Layers
from services.ingest.store.recent import Logged
from services.ingest.usecases.writing import Batch, Outcome, Writer
from services.kit import log
from services.kit.clock import Clock
from services.kit.db import Database, Read
from services.kit.errors import invalid_field

_STREAM = "ingest.event"
_CHECKPOINT_SECONDS = 5.0
_STREAM_SECONDS = 3600.0


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

    def __init__(self, db: Database, events: store.Events, layers: Layers, writer: Writer, clock: Clock) -> None:
        self._db = db
        self._events = events
        self._layers = layers
        self._writer = writer
        self._clock = clock

    async def publish(self, told: Told, *, caller: str) -> Published:
        """Write an event once for ever; it is durable when this returns.

        Raises invalid_field, customer_not_found, event_id_reused.
        """
        problems = problems_of(told)
        if problems:
            raise invalid_field(problems)
        outcome = await self._writer.write(Batch([(0, told)], [], lambda _: b"", caller, keeps=False))
        for _, unfit in outcome.unfit:
            if unfit.reason == "CUSTOMER_NOT_FOUND":
                raise refusals.customer_not_found(told.customer_key)
            raise refusals.event_id_reused(told.source, told.source_event_id)
        return Published(outcome.known.get(0, outcome.first_id), duplicate=bool(outcome.known))

    async def publish_batch(self, batch: Batch) -> "asyncio.Future[Outcome]":
        """Bring a batch, waiting for room; the future is done after its commit."""
        return await self._writer.bring(batch)

    async def rejects(self, *, source: str, before: int | None, size: int) -> list[Row[Any]]:
        """Events of batches that were not taken in, the latest first."""
        async with self._db.read() as read:
            return await self._events.rejects(read, source=source, before=before, size=size)

    async def watch(
        self, cursor: str, wanted: Wanted, at_once: int, stop: asyncio.Event, *, subject: str
    ) -> AsyncIterator[Watched]:
        """Events in the order of their commits, for an hour, at most `at_once` together.

        A follower opens the stream again with the cursor that it has kept; so it is known how far it is. Raises
        cursor_invalid, cursor_expired.
        """
        await self._seen(cursor, wanted, subject)
        until = time.monotonic() + _STREAM_SECONDS

        async def fetch(read: Read, after: log.Position) -> log.Page[Logged]:
            return await self._events.after(read, after, wanted)

        async for seen in log.follow(
            self._db,
            stream=_STREAM,
            cursor=cursor,
            fetch=fetch,
            stop=stop,
            at_once=at_once,
            checkpoint_every=_CHECKPOINT_SECONDS,
        ):
            first = seen.facts[0].traceparent if seen.facts else ""
            yield Watched(seen.cursor, tuple(each.event for each in seen.facts), first)
            if time.monotonic() > until:
                return

    async def _seen(self, cursor: str, wanted: Wanted, subject: str) -> None:
        place = log.decode(cursor, _STREAM)
        async with self._db.begin() as tx:
            if (0, 0) < place < await self._layers.rolled(tx):
                raise refusals.cursor_expired(cursor)
            await self._layers.seen(tx, subject, str(wanted), place, self._clock())
            await tx.commit()
