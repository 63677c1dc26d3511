"""Inbound time: the landing folder is looked at, deliveries are loaded, and the stores are kept."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta

import structlog

from services.ingest.domain.age import Ages
from services.ingest.domain.upload import Source
from services.ingest.lake.remote import Place
from services.ingest.store.following import Wanted
from services.ingest.usecases import Collecting, Erasing, Events, Identities, Intake, Load, Supply, Upkeep, Uploads
from services.ingest.usecases.bridge import MOST, Bridge, Sink
from services.ingest.usecases.bridge import Source as BrokerSource
from services.ingest.usecases.deliveries import LOADED
from services.ingest.usecases.erasure import ERASE
from services.ingest.usecases.identities import ROTATE
from services.ingest.usecases.intake import LOAD
from services.ingest.usecases.upkeep import COMPACT, LAND, ROLL_OFF
from services.kit import cursors, jobs, outbox
from services.kit.clock import Clock
from services.kit.cursors import Followed
from services.kit.db import Database, Write
from services.kit.ids import system_ids
from services.kit.server import Background
from services.kit.waiting import pause

_JOB_POLL_SECONDS = 0.1
_TIDY_SECONDS = 10.0
_SCHEDULE_SECONDS = 60.0
_RESTORE_SECONDS = 1.0

_log = structlog.get_logger(__name__)


def watch_landing(
    intake: Intake, uploads: Uploads, load: Load, poll: timedelta
) -> Callable[[asyncio.Event], Awaitable[None]]:
    """Decides about what lies in the landing folder, every `poll`, until told to stop."""

    async def watching(stop: asyncio.Event) -> None:
        tidied = -_TIDY_SECONDS
        while not stop.is_set():
            if time.monotonic() - tidied >= _TIDY_SECONDS:
                await intake.tidy()
                await uploads.tidy()
                await load.tidy()
                tidied = time.monotonic()
            await intake.sweep()
            await pause(poll.total_seconds(), stop)

    return watching


def watch_source(collecting: Collecting, source: Source, place: Place) -> Callable[[asyncio.Event], Awaitable[None]]:
    """Fetches what is new at a remote source, at its own pace, until told to stop."""

    async def watching(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await collecting.look(source, place)
            await pause(source.poll.total_seconds(), stop)

    return watching


def watch_supply(supply: Supply, poll: timedelta) -> Callable[[asyncio.Event], Awaitable[None]]:
    """Raises and clears alarms, every `poll`, until told to stop."""

    async def watching(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await supply.watch()
            await pause(poll.total_seconds(), stop)

    return watching


def load_deliveries(
    db: Database, load: Load, clock: Clock, *, lease: timedelta, at_once: int
) -> Callable[[asyncio.Event], Awaitable[None]]:
    """Runs the jobs that load deliveries until told to stop."""
    owner = system_ids()  # host and process id are the same again in a container that was started anew

    async def loading(stop: asyncio.Event) -> None:
        await jobs.work(
            db,
            {LOAD: load.load},
            owner=owner,
            clock=clock,
            stop=stop,
            lease_seconds=lease.total_seconds(),
            poll=_JOB_POLL_SECONDS,
            at_once=at_once,
        )

    return loading


def keep_stores(
    db: Database,
    identities: Identities,
    erasing: Erasing,
    upkeep: Upkeep,
    clock: Clock,
    lease: timedelta,
    ages: Ages,
) -> list[Background]:
    """The landed layer after each load, erasures, rotation; and once a day what is due then."""
    owner = system_ids()
    handlers: Mapping[str, jobs.Handler] = {
        LAND: upkeep.land,
        ROLL_OFF: upkeep.roll_off,
        COMPACT: upkeep.compact,
        ERASE: erasing.erase,
        ROTATE: identities.rotate,
    }

    async def loaded(cursor: str) -> AsyncIterator[Followed[outbox.Event]]:
        async for item in outbox.follow(db, cursor=cursor, kinds=[LOADED]):
            if isinstance(item, outbox.Event):
                yield Followed(item.cursor, item, item.traceparent)
            else:
                yield Followed(item.cursor, None)

    async def follow_loads(stop: asyncio.Event) -> None:
        await cursors.follow(db, consumer="layers", owner=owner, watch=loaded, handle=upkeep.loaded, stop=stop)

    async def run_upkeep(stop: asyncio.Event) -> None:
        await jobs.work(db, handlers, owner=owner, clock=clock, stop=stop, lease_seconds=lease.total_seconds())

    async def tick(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await upkeep.schedule([ROLL_OFF, COMPACT] if ages.compacts else [ROLL_OFF])
            await identities.recycle(clock() - timedelta(days=ages.recycle_days))
            await upkeep.collect(clock())
            await pause(_SCHEDULE_SECONDS, stop)

    async def restore(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await upkeep.restore()
            await pause(_RESTORE_SECONDS, stop)

    return [follow_loads, run_upkeep, tick, restore]


def bridge_brokers(
    db: Database,
    bridge: Bridge,
    events: Events,
    source: Callable[[], BrokerSource] | None,
    sink: Callable[[], Sink] | None,
) -> list[Background]:
    """Takes events in from a broker, and sends all to one; each only where it is configured."""
    owner = system_ids()

    async def take_in(stop: asyncio.Event) -> None:
        assert source is not None
        await bridge.take_in(source(), stop)

    async def send(stop: asyncio.Event) -> None:
        assert sink is not None
        to = sink()

        async def sent(cursor: str) -> AsyncIterator[Followed[object]]:
            async for seen in events.watch(cursor, Wanted(), MOST, stop, subject="broker"):
                if seen.events:  # it is with the broker before the cursor moves
                    await bridge.send(to, seen.events)
                yield Followed(seen.cursor, None, seen.traceparent)

        async def nothing(_: Write, __: object) -> None:
            """The effect is at the broker."""

        try:
            await cursors.follow(db, consumer="broker", owner=owner, watch=sent, handle=nothing, stop=stop)
        finally:
            await to.close()

    return [work for work, on in ((take_in, source), (send, sink)) if on is not None]
