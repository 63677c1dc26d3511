"""Postgres is stopped and killed under the event lane: what was acknowledged is there, and there once."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc.aio
import pytest

from deploy.local.postgres import Postgres
from lifecircle.ingest import v1
from services.ingest.api import RIGHTS
from services.kit.db import Database
from tests.fixtures.counts import FULL
from tests.fixtures.postgres import Databases
from tests.fixtures.serving import Serve
from tests.ingest.house import House
from tests.ingest.test_api import event_of, moment

RESTARTS = 20 if FULL else 2
STREAMS, BATCHES, SIZE = 2, 40 * RESTARTS, 25


class Publisher:
    """One stream of batches, opened again whenever it breaks, until every batch was acknowledged."""

    def __init__(self, stub: v1.IngestServiceStub, name: str) -> None:
        self._stub = stub
        self._waiting = [f"{name}-{number}" for number in range(BATCHES)]
        self.acknowledged: list[str] = []

    async def publish(self) -> None:
        while self._waiting:
            room = asyncio.Semaphore(2)
            try:
                async for answer in self._stub.PublishEvents(self._requests(room)):
                    assert answer.written + answer.duplicates == SIZE, answer
                    self._waiting.remove(answer.batch_id)
                    self.acknowledged.append(answer.batch_id)
                    room.release()
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL):
                    raise
                await asyncio.sleep(0.05)

    async def _requests(self, room: asyncio.Semaphore) -> AsyncIterator[v1.PublishEventsRequest]:
        for name in list(self._waiting):
            await room.acquire()
            yield v1.PublishEventsRequest(batch_id=name, events=events_of(name))


def events_of(batch: str) -> list[v1.Event]:
    return [event_of(source_event_id=f"{batch}-{at}", occur_time=moment(at)) for at in range(SIZE)]


async def strike(server: Postgres, data: Path, published: Callable[[], int]) -> None:
    """Stop Postgres or kill it, in turns, each time after another part was acknowledged; start it again."""
    port = server.port
    for number in range(RESTARTS):
        while published() < STREAMS * BATCHES * (number + 1) // (RESTARTS + 1):
            await asyncio.sleep(0.005)
        if number % 2:
            await asyncio.to_thread(server.stop)
        else:
            os.kill(server.pid, signal.SIGKILL)
        server = await asyncio.to_thread(Postgres.start, data, port=port)


@pytest.mark.slow
@pytest.mark.timeout(900 if FULL else 180)
async def test_postgres_restarted_under_load_loses_nothing_that_was_acknowledged(
    serving: Serve, tmp_path: Path
) -> None:
    """R000-014: every second restart is a SIGKILL of the server; it writes through, as in production."""
    data = tmp_path / "postgres" / "data"
    server = await asyncio.to_thread(Postgres.start, data)
    database = (await asyncio.to_thread(Databases, server.url)).fresh("ingest")
    db = await Database.open(database.url, schema="ingest", application="ingest")
    try:
        house = House(db, tmp_path)

        def register(target: grpc.aio.Server) -> None:
            v1.add_IngestServiceServicer_to_server(house.api(), target)

        async with serving("ingest", register=register, rights=RIGHTS) as served:
            stub = v1.IngestServiceStub(served.channel(roles={"operator"}))
            publishers = [Publisher(stub, f"S{number}") for number in range(STREAMS)]
            striking = asyncio.create_task(strike(server, data, lambda: sum(len(p.acknowledged) for p in publishers)))
            await asyncio.gather(striking, *(publisher.publish() for publisher in publishers))
        kept = [row[0] for row in await house.rows("SELECT source_event_id FROM event")]
        told = [each.source_event_id for p in publishers for name in p.acknowledged for each in events_of(name)]
        assert len(told) == STREAMS * BATCHES * SIZE
        assert sorted(kept) == sorted(told)
        assert await house.value("SELECT count(*) FROM event_key") == len(told)
    finally:
        await db.close()
        running = Postgres.running(data)
        if running is not None:
            await asyncio.to_thread(running.stop)
