"""External brokers: NATS JetStream with its real server, Kafka with librdkafka's mock cluster (no real broker)."""

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from confluent_kafka import Consumer, Producer

from services.ingest.domain import message
from services.ingest.domain.event import Told, Unfit
from services.ingest.peers import sink_of, source_of
from services.ingest.store.following import Wanted
from services.ingest.usecases.bridge import Bridge
from tests.ingest.house import House


def body(number: int, **other: Any) -> bytes:
    told = {"source": "boss", "source_event_id": f"E{number}", "type": "business.NEW", "customer_key": 0}
    return json.dumps(
        told | {"occur_time": "2026-09-01T04:00:00+08:00", "attributes": {"n": str(number)}} | other
    ).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"\xff", b'{"source": "boss"}', body(1, type="x"), body(1, customer_key="7"),
        body(1, customer_key=True),
        body(1, occur_time="2026-09-01T04:00:00"), body(1, attributes=[]), body(1, attributes={"to": "13900000001"}),
        body(1).replace(b'"1"', b"NaN"),
    ],
)  # fmt: skip
def test_what_is_no_event_is_kept_aside_and_stops_nothing(data: bytes) -> None:
    assert isinstance(message.read(data), Unfit)


def test_an_event_of_a_message_has_its_time_in_utc() -> None:
    told = message.read(body(1))
    assert isinstance(told, Told)
    assert told.occur_time.isoformat() == "2026-08-31T20:00:00+00:00"


@pytest.fixture
def jetstream(tmp_path: Path) -> Iterator[str]:
    """A real server; gives host:port."""
    binary = Path(sys.executable).parent / "nats-server"
    with contextlib.closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = str(binary) if binary.exists() else shutil.which("nats-server")
    assert found is not None
    command = [found, "-js", "-a", "127.0.0.1", "-p", str(port), "-sd", str(tmp_path / "js")]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


async def connected(server: str) -> Any:
    for _ in range(100):
        with contextlib.suppress(OSError, nats.errors.NoServersError):
            return await nats.connect(f"nats://{server}", max_reconnect_attempts=1)
        await asyncio.sleep(0.05)
    raise AssertionError("the server does not answer")


@contextlib.asynccontextmanager
async def taking(house: House, url: str) -> AsyncIterator[None]:
    """Take a source in, in the background."""
    stop = asyncio.Event()
    task = asyncio.create_task(Bridge(house.db, house.event_store, house.writer).take_in(source_of(url), stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():
            await asyncio.sleep(0.05)


async def logged(house: House, count: int) -> None:
    async def are() -> bool:
        return bool(await house.value("SELECT count(*) FROM event") == count)

    await until(are)


async def test_jetstream_is_taken_in_once_though_messages_come_again_and_is_sent_to(
    house: House, jetstream: str
) -> None:
    client = await connected(jetstream)
    js = client.jetstream()
    await js.add_stream(name="IN", subjects=["events.in"])
    await js.add_stream(name="OUT", subjects=["events.out"])
    for number in [*range(20), *range(10), *range(20)]:
        await js.publish("events.in", body(number))
    await js.publish("events.in", b"nonsense")
    async with taking(house, f"nats://{jetstream}/IN/events.in"):
        await logged(house, 20)

        async def acknowledged() -> bool:
            return bool((await js.consumer_info("IN", "lifecircle-ingest")).num_ack_pending == 0)

        await until(acknowledged)
    assert await house.value("SELECT count(*) FROM event_reject") == 1
    assert await house.value("SELECT position FROM broker_position") == 51
    await js.delete_consumer("IN", "lifecircle-ingest")  # the server forgets what it was told: all comes again
    await js.publish("events.in", body(20))
    async with taking(house, f"nats://{jetstream}/IN/events.in"):
        await logged(house, 21)
    await sent_twice(house, f"nats://{jetstream}/OUT/events.out")
    assert (await js.stream_info("OUT")).state.messages == 21  # the server knew the second time by the events' ids
    await client.close()


async def sent_twice(house: House, url: str) -> None:
    """Send the whole log, and once more, as after a crash before the cursor moved."""
    bridge, sink = Bridge(house.db, house.event_store, house.writer), sink_of(url)
    for _ in range(2):
        stop = asyncio.Event()
        async for seen in house.events.watch("", Wanted(), 1000, stop, subject="t"):
            await bridge.send(sink, seen.events)
            stop.set()
    await sink.close()


async def test_kafka_is_taken_in_from_the_offsets_that_stand_with_the_events(house: House) -> None:
    holder = Producer({"bootstrap.servers": "ignored", "test.mock.num.brokers": 1})
    servers = holder.list_topics(timeout=60).brokers[1]
    address = f"{servers.host}:{servers.port}"
    producer = Producer({"bootstrap.servers": address})

    def produce(*numbers: int) -> None:
        for number in numbers:
            producer.produce("events-in", body(number), key=str(number))
        assert producer.flush(10) == 0

    await asyncio.to_thread(produce, *range(20), *range(20))
    async with taking(house, f"kafka://{address}/events-in"):
        await logged(house, 20)
    first = await house.value("SELECT sum(position + 1) FROM broker_position")
    assert first == 40
    await asyncio.to_thread(produce, *range(15, 25))
    async with taking(house, f"kafka://{address}/events-in"):
        await logged(house, 25)
    assert await house.value("SELECT sum(position + 1) FROM broker_position") == 50
    await sent_twice(house, f"kafka://{address}/events-out")
    ids = await asyncio.to_thread(event_ids, address)
    assert len(ids) == 50
    assert len(set(ids)) == 25  # twice each: the reader knows them by the header


def event_ids(address: str) -> list[str]:
    consumer = Consumer({"bootstrap.servers": address, "group.id": "t", "auto.offset.reset": "earliest"})
    consumer.subscribe(["events-out"])
    found: list[str] = []
    for _ in range(60):
        found += [str(dict(each.headers() or [])["event-id"]) for each in consumer.consume(100, 0.5)]
        if len(found) >= 50:
            break
    consumer.close()
    return found
