"""Following a stream: every event has its effect exactly once, in order, whatever dies, breaks or freezes."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from sqlalchemy import text

from services.kit import cursors, telemetry
from services.kit.cursors import Followed
from services.kit.db import Database, Write
from tests.fixtures.counts import seeds
from tests.kit.chaos import Mortal, live_and_die

Handle = Callable[[Write, str], Awaitable[Callable[[], None] | None]]


class Peer:
    """A stream of a peer: a log that is given out from a cursor on, and that may break at any item."""

    def __init__(self, *events: str, breaks: float = 0.0, seed: int = 0) -> None:
        self.log = list(events)
        self.breaks = breaks
        self.chance = random.Random(seed)
        self.opened: list[str] = []
        self.parent = ""

    async def watch(self, cursor: str) -> AsyncIterator[Followed[str]]:
        self.opened.append(cursor)
        position = int(cursor or 0)
        while True:
            if self.chance.random() < self.breaks:
                raise ConnectionResetError
            if position < len(self.log):
                position += 1
                yield Followed(str(position), self.log[position - 1], self.parent)
            elif self.chance.random() < 0.2:
                yield Followed(str(position), None)
            else:
                await asyncio.sleep(0.005)


class Deaf(Database):
    """The database of a process whose connection breaks once after each commit of an effect in `to`, unanswered."""

    def __init__(self, db: Database) -> None:
        super().__init__(db._engine, db._connect, db.schema, db._patience)
        self.to: set[str] = set()

    @asynccontextmanager
    async def begin(self, *, statement_seconds: float | None = None) -> AsyncIterator[Write]:
        async with super().begin() as tx:
            yield tx
        if heard := self.to.intersection(await effects(self)):
            self.to -= heard
            raise ConnectionResetError


async def apply(tx: Write, event: str) -> None:
    await tx.execute(text("INSERT INTO effect (name) VALUES (:event)"), {"event": event})


async def effects(db: Database) -> list[str]:
    async with db.read() as read:
        return [row.name for row in await read.rows(text("SELECT name FROM effect ORDER BY seq"))]


async def state(db: Database) -> object:
    async with db.read() as read:
        return await read.row(text("SELECT cursor, owner, failures, error FROM consumer_cursor"))


@pytest.fixture(autouse=True)
async def empty(db: Database) -> None:
    async with db.begin() as tx:
        await tx.execute(text("DELETE FROM effect"))
        await tx.execute(text("DELETE FROM consumer_cursor"))
        await tx.commit()


def following(
    db: Database, peer: Peer, handle: Handle = apply, *, owner: str = "one", lease: float = 15
) -> AbstractAsyncContextManager[asyncio.Event]:
    """A consumer that runs inside of a block."""

    @asynccontextmanager
    async def block() -> AsyncIterator[asyncio.Event]:
        stop = asyncio.Event()
        task = asyncio.create_task(
            cursors.follow(
                db, consumer="c", owner=owner, watch=peer.watch, handle=handle, stop=stop, lease_seconds=lease
            )
        )
        try:
            yield stop
        finally:
            stop.set()
            await task

    return block()


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.01)


async def have(db: Database, count: int) -> bool:
    return len(await effects(db)) >= count


async def test_every_event_has_its_effect_once_and_in_order(db: Database) -> None:
    peer = Peer("a", "b", "c")
    async with following(db, peer):
        await until(lambda: have(db, 3))
    assert await effects(db) == ["a", "b", "c"]


async def test_the_next_process_goes_on_where_the_last_one_stopped_and_at_once(db: Database) -> None:
    peer = Peer("a", "b")
    async with following(db, peer, lease=60):
        await until(lambda: have(db, 2))
    peer.log += ["c"]
    async with following(db, peer, owner="two", lease=60):
        await until(lambda: have(db, 3))
    assert peer.opened[-1] == "2"
    assert await effects(db) == ["a", "b", "c"]


async def test_a_broken_stream_is_opened_again_from_the_cursor(db: Database) -> None:
    peer = Peer(*map(str, range(30)), breaks=0.1, seed=1)
    async with following(db, peer):
        await until(lambda: have(db, 30))
    assert len(peer.opened) > 1
    assert await effects(db) == peer.log


async def test_a_checkpoint_moves_the_cursor_without_an_effect(db: Database) -> None:
    async def quiet(cursor: str) -> AsyncIterator[Followed[str]]:
        yield Followed("far", None)
        await asyncio.sleep(60)

    peer = Peer()
    peer.watch = quiet  # type: ignore[method-assign]
    async with following(db, peer):
        await until(lambda: stands_at(db, "far"))
    assert await effects(db) == []


async def stands_at(db: Database, cursor: str) -> bool:
    return getattr(await state(db), "cursor", None) == cursor


async def test_an_event_that_cannot_be_handled_is_tried_again_ever_more_slowly_and_shows(db: Database) -> None:
    tries: list[float] = []

    async def fail(tx: Write, event: str) -> None:
        if event == "poison" and len(tries) < 4:
            tries.append(asyncio.get_running_loop().time())
            await apply(tx, "half done")
            raise ValueError("the number 13812345678 is not one")
        await apply(tx, event)

    peer = Peer("a", "poison", "b")
    async with following(db, peer, fail):
        await until(lambda: failed(db, 3))
        seen = await state(db)
        await until(lambda: have(db, 3))
    assert "ValueError: the number 1********** is not one (incident " in str(seen)
    assert await effects(db) == ["a", "poison", "b"]
    waits = [after - before for before, after in itertools.pairwise(tries)]
    assert len(waits) == 3
    assert waits[-1] > 0.15
    assert getattr(await state(db), "failures", None) == 0


async def failed(db: Database, times: int) -> bool:
    return getattr(await state(db), "failures", 0) >= times


async def test_what_handling_gives_is_called_once_it_is_committed_and_not_when_it_is_not(db: Database) -> None:
    tries, committed, known_at = list[str](), list[str](), list[tuple[str, ...]]()

    async def handle(tx: Write, event: str) -> Callable[[], None]:
        tries.append(event)
        known_at.append(tuple(committed))
        await apply(tx, event)
        if tries.count("b") == 1 and event == "b":  # the lease goes to another epoch in mid transaction
            async with db.begin() as other:
                await other.execute(text("UPDATE consumer_cursor SET epoch = epoch + 1, lease_until = now()"))
                await other.commit()
        return lambda: committed.append(event)

    async with following(db, Peer("a", "b", "c"), handle, lease=0.3):
        await until(lambda: have(db, 3), 30)
    assert tries == ["a", "b", "b", "c"]
    assert known_at == [(), ("a",), ("a",), ("a", "b")]
    assert committed == await effects(db) == ["a", "b", "c"]


async def test_of_two_processes_one_follows_and_the_other_stands_by(db: Database) -> None:
    handled: list[tuple[str, str]] = []

    def by(owner: str) -> Handle:
        async def handle(tx: Write, event: str) -> None:
            handled.append((owner, event))
            await apply(tx, event)

        return handle

    peer = Peer("a", "b")
    async with following(db, peer, by("one"), owner="one", lease=1.5) as stop:
        await until(lambda: have(db, 2))
        async with following(db, peer, by("two"), owner="two", lease=1.5):
            await asyncio.sleep(1.7)  # longer than a lease, which is renewed meanwhile
            peer.log += ["c"]
            await until(lambda: have(db, 3))
            stop.set()
            peer.log += ["d"]
            await until(lambda: have(db, 4))
    assert handled == [("one", "a"), ("one", "b"), ("one", "c"), ("two", "d")]


async def test_handling_is_a_span_of_the_trace_that_wrote_the_event(db: Database) -> None:
    seen: list[str] = []

    async def look(tx: Write, event: str) -> None:
        seen.append(telemetry.traceparent())

    peer = Peer("a")
    peer.parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with following(db, peer, look):
        await until(lambda: stands_at(db, "1"))
    assert [trace[3:35] for trace in seen] == ["0af7651916cd43dd8448eb211c80319c"]


async def test_an_event_whose_commit_was_not_answered_has_its_effect_once(db: Database) -> None:
    peer, deaf = Peer("a", "b", "c"), Deaf(db)
    deaf.to = {"b"}
    async with following(deaf, peer):
        await until(lambda: stands_at(db, "3"))
    assert await effects(db) == ["a", "b", "c"]
    assert not deaf.to


@pytest.mark.parametrize("seed", seeds(6, 60))
async def test_no_effect_is_lost_or_doubled_when_processes_die_and_freeze_at_any_point(db: Database, seed: int) -> None:
    """Two places for processes, each started anew when its process dies; a frozen one wakes up after its lease."""
    chance = random.Random(seed)
    peer = Peer(*(f"{n:03}" for n in range(40)), breaks=0.02, seed=seed)
    stop = asyncio.Event()

    async def place(name: str) -> int:
        deaths = 0
        while not stop.is_set():
            # One dies almost at once, so that somebody does under every seed.
            process = Mortal(db, chance, death=0.02 if deaths or name == "b" else 0.3, freeze=0.01, frozen=0.2)
            life = cursors.follow(
                process,
                consumer="c",
                owner=f"{name}{deaths}",
                watch=peer.watch,
                handle=apply,
                stop=stop,
                lease_seconds=0.1,
            )
            deaths += await live_and_die(life)
        return deaths

    places = asyncio.gather(place("a"), place("b"))
    await until(lambda: have(db, 40), seconds=40)
    stop.set()
    deaths = sum(await places)
    assert await effects(db) == peer.log
    assert deaths > 0
