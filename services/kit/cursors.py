"""A consumer's own position in a peer's Watch stream: a leased row, moved in the transaction of the effect.

    async def run(stop: asyncio.Event) -> None:
        await cursors.follow(db, consumer="deliveries", owner=owner, watch=peers.deliveries, handle=handle, stop=stop)

However often processes die and streams break, every event has its effect exactly once. An event that cannot be handled
is tried again and again, ever more slowly, and nothing behind it is handled: it is logged with its incident, stands in
`consumer_cursor.error`, and shows in the gauge `lifecircle.follow.failures`.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import grpc
import grpc.aio
import structlog
from sqlalchemy import Row, and_, func, update
from sqlalchemy.dialects.postgresql import insert

from services.kit import lease, telemetry
from services.kit.db import Database, Write
from services.kit.ids import system_ids
from services.kit.logs import mask
from services.kit.tables import consumer_cursor as table
from services.kit.waiting import backoff, pause

T = TypeVar("T")
Handle: TypeAlias = Callable[[Write, T], Awaitable[Callable[[], None] | None]]
"""Has an event's effect in a transaction. What it may give is called after the commit and before the next event, unless
the process dies between: for what is held in memory alone."""

_log = structlog.get_logger(__name__)
_events = telemetry.counter("lifecircle.follow.events", "{event}", "Events handled, by consumer.")
_failures = telemetry.gauge("lifecircle.follow.failures", "{failure}", "Failures in a row; 0 when all is well.")
_age = telemetry.gauge("lifecircle.follow.age", "s", "Since the last event or checkpoint; a quiet stream has these.")


@dataclass(frozen=True)
class Followed(Generic[T]):
    """One item of a Watch: an event, or (event None) a checkpoint. `cursor` is the position just after it."""

    cursor: str
    event: T | None
    traceparent: str = ""


async def follow(
    db: Database,
    *,
    consumer: str,
    owner: str,
    watch: Callable[[str], AsyncIterator[Followed[T]]],
    handle: Handle[T],
    stop: asyncio.Event,
    lease_seconds: float = 15,
) -> None:
    """Follow `watch` from the consumer's committed cursor ("" at first) until `stop`, one owner at a time.

    Each event is handled in a transaction of its own, `handle(tx, event)`, and the cursor moves in the same; the kit
    commits, and calls what `handle` gave for then. A stream that ends or breaks is opened again. `owner` is unique to
    the process. Another process with the same consumer stands by and takes over when this one stops, or when its lease
    runs out.
    """
    while not stop.is_set():
        try:
            row = await _acquire(db, consumer, owner, lease_seconds)
        except Exception as error:
            _log.warning("cursor_not_leased", consumer=consumer, error=type(error).__name__)
            row = None
        if row is None:
            await pause(lease_seconds / 3, stop)
            continue
        follower = _Follower(db, consumer, row.epoch, row.cursor, watch, handle, stop, lease_seconds)
        try:
            await lease.hold(follower.run(), renew=follower.renew, seconds=lease_seconds, stop=stop)
        except lease.Lost:
            _log.warning("cursor_lost", consumer=consumer, owner=owner)
        finally:
            await follower.release()


class _Follower(Generic[T]):
    """One owner's time with the cursor."""

    def __init__(
        self,
        db: Database,
        consumer: str,
        epoch: int,
        cursor: str,
        watch: Callable[[str], AsyncIterator[Followed[T]]],
        handle: Handle[T],
        stop: asyncio.Event,
        lease_seconds: float,
    ) -> None:
        self._db = db
        self._consumer = consumer
        self._ours = and_(table.c.consumer == consumer, table.c.epoch == epoch)
        self._cursor = cursor
        self._watch = watch
        self._handle = handle
        self._stop = stop
        self._lease_seconds = lease_seconds
        self._failures = 0
        self._moved = time.monotonic()

    async def run(self) -> None:
        """Open the stream, follow it, and open it again when it ends or breaks."""
        while not self._stop.is_set():
            try:
                async with contextlib.aclosing(_closable(self._watch(self._cursor))) as items:
                    async for item in items:
                        await self._take(item)
                await pause(backoff(1), self._stop)  # the peer ended it: it is stopping, another replica may serve
            except lease.Lost:
                raise
            except Exception as error:
                await self._failed(error)
                await pause(backoff(self._failures), self._stop)

    async def renew(self) -> bool:
        """Prolong the lease; says whether it is still ours."""
        _age(time.monotonic() - self._moved, consumer=self._consumer)
        return await self._update(lease_until=lease.until(self._lease_seconds))

    async def release(self) -> None:
        """Give the lease back, so that another need not wait for it to run out."""
        with contextlib.suppress(Exception):
            await self._update(lease_until=func.now(), owner="")

    async def _take(self, item: Followed[T]) -> None:
        with telemetry.span(f"follow {self._consumer}", parent=item.traceparent, kind="consumer"):
            committed = None
            async with self._db.begin() as tx:
                if item.event is not None:
                    committed = await self._handle(tx, item.event)
                # Last in the transaction, so that the row is locked for a moment only and renewing need not wait.
                moved = {
                    "cursor": item.cursor,
                    "move_time": func.now(),
                    "lease_until": lease.until(self._lease_seconds),
                }
                # The cursor has moved already when the answer to the commit before was lost: begin again behind it.
                here = and_(self._ours, table.c.cursor == self._cursor)
                if not await tx.execute(update(table).where(here).values(moved | _WELL)):
                    raise lease.Lost
                await tx.commit()
        self._cursor = item.cursor
        self._failures = 0
        self._moved = time.monotonic()
        _failures(0, consumer=self._consumer)
        if item.event is not None:
            _events(1, consumer=self._consumer)
        if committed is not None:
            committed()

    async def _failed(self, error: Exception) -> None:
        self._failures += 1
        incident = system_ids()
        about = {"consumer": self._consumer, "failures": self._failures, "incident": incident}
        if isinstance(error, grpc.aio.AioRpcError) and error.code() == grpc.StatusCode.UNAVAILABLE:
            # The peer starts, stops or is replaced: nothing is wrong with the event, and no stack says more.
            _log.warning("peer_unavailable", **about)
        else:
            _log.error("follow_failed", **about, exc_info=error)
        _failures(self._failures, consumer=self._consumer)
        what = mask(f"{type(error).__name__}: {error}")[:500]
        with contextlib.suppress(Exception):  # Postgres itself may be what failed; the log has it
            await self._update(failures=self._failures, error=f"{what} (incident {incident})", error_time=func.now())

    async def _update(self, **values: Any) -> bool:
        async with self._db.begin() as tx:
            ours = await tx.execute(update(table).where(self._ours).values(values))
            await tx.commit()
        return bool(ours)


_WELL: dict[str, Any] = {"failures": 0, "error": "", "error_time": None}


async def _acquire(db: Database, consumer: str, owner: str, seconds: float) -> Row[Any] | None:
    """Take the lease, if it is free."""
    async with db.begin() as tx:
        await tx.execute(insert(table).values(consumer=consumer).on_conflict_do_nothing())
        row = await tx.row(
            update(table)
            .where(table.c.consumer == consumer, table.c.lease_until < func.clock_timestamp())
            .values(owner=owner, epoch=table.c.epoch + 1, lease_until=lease.until(seconds))
            .returning(table.c.epoch, table.c.cursor)
        )
        await tx.commit()
    return row


async def _closable(items: AsyncIterator[Followed[T]]) -> AsyncGenerator[Followed[T], None]:
    """The items as a generator, which can be closed; whatever a peer's stream is, closing it reaches it."""
    try:
        async for item in items:
            yield item
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()
