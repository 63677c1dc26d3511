"""Events from an external broker and to one; the broker itself is a port, see peers/.

Taking in: the positions move in the transaction that writes the events, and the broker is told after it. A message that
comes again, since the process died between the two, is known by its source and id: it changes nothing.
Sending: a message is with the broker before the cursor moves, and carries the event's id, by which the broker or its
reader knows it again.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.ingest import store
from services.ingest.domain import message
from services.ingest.domain.event import Event, Told, Unfit
from services.ingest.usecases.writing import Batch, Outcome, Writer
from services.kit.db import Database

MOST = 500


@dataclass(frozen=True)
class Message:
    """One message at its position in a part of the external stream."""

    part: int
    position: int
    data: bytes


class Source(Protocol):
    """An external stream to take in."""

    name: str

    async def open(self, positions: dict[int, int]) -> None:
        """Begin after these positions by part; at the beginning where there is none."""

    async def take(self, most: int) -> Sequence[Message]:
        """The next messages, in order within their part; none after a short while."""

    async def taken(self) -> None:
        """All that was taken is durable with us."""

    async def close(self) -> None:
        """Be done."""


class Sink(Protocol):
    """An external stream to send to."""

    async def put(self, events: Sequence[tuple[str, str, bytes]]) -> None:
        """Send (event id, key, message); the broker has them when this returns."""

    async def close(self) -> None:
        """Be done."""


class Bridge:
    """Between a broker and the event log."""

    def __init__(self, db: Database, events: store.Events, writer: Writer) -> None:
        self._db = db
        self._events = events
        self._writer = writer

    async def take_in(self, source: Source, stop: asyncio.Event) -> None:
        """Take a source in until told to stop."""
        async with self._db.read() as read:
            positions = await self._events.positions(read, source.name)
        await source.open(positions)
        try:
            while not stop.is_set():
                messages = await source.take(MOST)
                if messages:
                    await self._writer.write(_batch(source.name, messages))
                    await source.taken()
        finally:
            await source.close()

    async def send(self, sink: Sink, events: Sequence[Event]) -> None:
        """Send events; what a sink was sent twice has the same id."""
        await sink.put([(each.event_id, str(each.customer_key), message.written(each)) for each in events])


def _batch(name: str, messages: Sequence[Message]) -> Batch:
    told: list[tuple[int, Told]] = []
    bad: list[tuple[int, Unfit]] = []
    for at, each in enumerate(messages):
        found = message.read(each.data)
        if isinstance(found, Told):
            told.append((at, found))
        else:
            bad.append((at, found))
    last = {each.part: each.position for each in messages}
    positions = [(name, part, position) for part, position in sorted(last.items())]
    return Batch(told, bad, lambda at: messages[at].data, f"broker {name}", positions=positions)


__all__ = ["MOST", "Bridge", "Message", "Outcome", "Sink", "Source"]
