"""The one way into the event log: whoever waits at the same time is written in one transaction (group commit).

    a batch comes → waits for room → the writer takes all that wait, up to GROUP events → one transaction → each is told

While one transaction commits the next group gathers, so the busier the lane the larger the groups and the fewer the
commits. A batch that breaks its group is written once more by itself, so that it fails alone.
"""

import asyncio
import contextvars
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from services.ingest import store
from services.ingest.domain.event import Told, Unfit
from services.ingest.domain.identity import VaultKeys
from services.ingest.store.recent import Arrival
from services.kit import telemetry
from services.kit.clock import Clock
from services.kit.db import Database, Write, is_unavailable
from services.kit.ids import Ids

GROUP = 2000
"""Events in one transaction, at most; a single batch may be larger."""
ROOM = 20_000
"""Events that may wait; who brings more waits outside, and his stream is not read on."""
_WARY_GROUPS = 20
_SEAL = b"event"

_log = structlog.get_logger(__name__)
_events = telemetry.counter("lifecircle.ingest.events", "{event}", "Events that were told, by outcome.")


@dataclass(frozen=True)
class Batch:
    """Events to write together, and those that are known to be unfit; `raw` gives the bytes of one by its index."""

    told: Sequence[tuple[int, Told]]
    unfit: Sequence[tuple[int, Unfit]]
    raw: Callable[[int], bytes]
    caller: str
    keeps: bool = True
    """Whether what is not taken in is kept aside; a unary caller is told and may mend it."""
    positions: Sequence[tuple[str, int, int]] = ()
    """(source, part, position) of an external stream, moved in the same transaction."""


@dataclass(frozen=True)
class Outcome:
    """What became of a batch: event ids by index (of new and known ones), the indices of known ones, the unfit."""

    written: int
    known: dict[int, str]
    unfit: list[tuple[int, Unfit]]
    first_id: str = ""


@dataclass
class _Waiting:
    batch: Batch
    traceparent: str
    done: "asyncio.Future[Outcome]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Writer:
    """Writes batches of many callers; one per process."""

    def __init__(self, db: Database, events: store.Events, keys: VaultKeys, clock: Clock, ids: Ids) -> None:
        self._db = db
        self._events = events
        self._keys = keys
        self._clock = clock
        self._ids = ids
        self._queue: list[_Waiting] = []
        self._queued = 0
        self._room = asyncio.Condition()
        self._writing: asyncio.Task[None] | None = None
        self._wary = 0

    async def write(self, batch: Batch) -> Outcome:
        """Durable when this returns. Raises what Postgres raises; then nothing of the batch may be assumed."""
        waiting = await self.bring(batch)
        return await waiting

    async def bring(self, batch: Batch) -> "asyncio.Future[Outcome]":
        """Give a batch to the writer, waiting for room; the future says what became of it."""
        size = len(batch.told) + len(batch.unfit)
        async with self._room:
            await self._room.wait_for(lambda: self._queued == 0 or self._queued + size <= ROOM)
            self._queued += size
        waiting = _Waiting(batch, telemetry.traceparent())
        waiting.done.add_done_callback(_looked_at)
        self._queue.append(waiting)
        if self._writing is None:
            # In a context of its own: what is written here belongs to many callers, and to the deadline of none.
            self._writing = asyncio.create_task(self._write_all(), context=contextvars.Context())
        return waiting.done

    async def _write_all(self) -> None:
        try:
            while self._queue:
                group = self._next_group()
                await self._settle(group)
                async with self._room:
                    self._queued -= sum(len(each.batch.told) + len(each.batch.unfit) for each in group)
                    self._room.notify_all()
        finally:
            self._writing = None

    def _next_group(self) -> list[_Waiting]:
        size, count = 0, 0
        for each in self._queue:
            size += len(each.batch.told)
            if count and size > GROUP:
                break
            count += 1
        group, self._queue = self._queue[:count], self._queue[count:]
        return group

    async def _settle(self, group: list[_Waiting]) -> None:
        """Write a group and tell each who waits; a group that fails is written batch by batch."""
        try:
            outcomes = await self._commit(group)
        except Exception as error:
            if len(group) > 1 and not is_unavailable(error):
                _log.warning("event_group_broken", batches=len(group), error=type(error).__name__)
                for each in group:
                    await self._settle([each])
                return
            for each in group:
                if not each.done.done():
                    each.done.set_exception(error)
            return
        for each, outcome in zip(group, outcomes, strict=True):
            if not each.done.done():  # the caller may have gone away: written it is
                each.done.set_result(outcome)

    async def _commit(self, group: list[_Waiting]) -> list[Outcome]:
        arrival = Arrival(self._ids(), self._clock(), group[0].traceparent)
        told = [event for each in group for _, event in each.batch.told]
        async with self._db.begin() as tx:
            left = {each.at: each for each in await self._write(tx, told, arrival)}
            outcomes, first = [], 0
            for each in group:
                outcomes.append(_outcome(each.batch, left, first, arrival.batch_id))
                first += len(each.batch.told)
            for each, outcome in zip(group, outcomes, strict=True):
                await self._keep(tx, each.batch, outcome, arrival)
            await tx.commit()
        _events(sum(each.written for each in outcomes), outcome="written")
        _events(sum(len(each.known) for each in outcomes), outcome="duplicate")
        _events(sum(len(each.unfit) for each in outcomes), outcome="rejected")
        return outcomes

    async def _write(self, tx: Write, told: Sequence[Told], arrival: Arrival) -> list[store.events.Left]:
        """Write events as new ones, but for some time after one was known: a source that repeats itself goes on so."""
        if not told:
            return []
        left = await self._events.write(tx, told, arrival, fresh=not self._wary)
        self._wary = _WARY_GROUPS if any(each.event_id for each in left) else max(0, self._wary - 1)
        return left

    async def _keep(self, tx: Write, batch: Batch, outcome: Outcome, arrival: Arrival) -> None:
        for source, part, position in batch.positions:
            await self._events.move(tx, source, part, position)
        if batch.keeps and outcome.unfit:
            kept = [(each, self._keys.seal(batch.raw(at), _SEAL, secrets.token_bytes)) for at, each in outcome.unfit]
            version, now = self._keys.version, arrival.receive_time
            await self._events.add_rejects(tx, kept, key_version=version, caller=batch.caller, now=now)


def _outcome(batch: Batch, left: dict[int, store.events.Left], first: int, batch_id: str) -> Outcome:
    known, unfit = {}, list(batch.unfit)
    for number, (at, told) in enumerate(batch.told, first):
        found = left.get(number)
        if found is None:
            continue
        if found.same:
            known[at] = found.event_id
        elif found.event_id:
            unfit.append((at, Unfit(told.source, told.source_event_id, "EVENT_ID_REUSED", _REUSED)))
        else:
            unfit.append((at, Unfit(told.source, told.source_event_id, "CUSTOMER_NOT_FOUND", _STRANGER)))
    written = len(batch.told) + len(batch.unfit) - len(known) - len(unfit)
    return Outcome(written, known, sorted(unfit, key=lambda each: each[0]), f"{batch_id}-{first}")


_REUSED = "another event was told under this id before; a correction needs an id of its own"
_STRANGER = "no customer has the key"


def _looked_at(future: "asyncio.Future[Outcome]") -> None:
    if not future.cancelled():
        future.exception()  # a caller who went away does not ask
