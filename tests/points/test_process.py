"""The service as a process: it follows ingest, survives kill -9 in the middle, and ends with the same ledger."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from google.type.date_pb2 import Date
from sqlalchemy import text

from lifecircle.ingest.v1 import IngestServiceStub
from lifecircle.points import v1
from services.kit.channel import open_channel
from services.kit.config import ConfigProblems
from services.kit.db import Database
from services.points import app
from services.points.domain.event import Event
from services.points.domain.reference import FEEDS
from services.points.peers import Ingest, to_event
from tests.fixtures.postgres import Databases, Fresh
from tests.fixtures.serving import Keys
from tests.points import ingest
from tests.points.desk import Desk
from tests.points.made import NOON, PRODUCTS, RULES, STAFF, event, refund

TOTAL = 1_200


def business(count: int = TOTAL) -> list[Event]:
    """A month of business, every tenth event taken back, some unknown."""
    events = []
    for number in range(1, count + 1):
        when = NOON + timedelta(minutes=number)
        times = {"occur_time": when, "receive_time": when}
        if number % 10 == 0:
            events.append(refund(number, number - 3, **times))
            continue
        events.append(
            event(
                number,
                type=("NEW", "RENEW", "UPGRADE", "CHURN")[number % 4],
                customer_key=(7, 8, 9)[number % 3],
                product_id="P9" if number % 50 == 1 else list(PRODUCTS)[number % 3],
                staff_id=list(STAFF)[number % 3],
                amount_fen=number * 7,
                **times,
            )
        )
    return events


@contextlib.asynccontextmanager
async def process(database: Fresh, keys: Keys, tmp: Path, target: str) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """The service, given as a way to kill it with SIGKILL and start it again."""
    token = tmp / "points.jwt"
    token.write_text(keys.token(roles={"service"}, subject="points"))
    environ = os.environ | {
        "DATABASE_URL": database.url,
        "LISTEN": PORT_OF[tmp],
        "JWT_KEYS": str(keys.path),
        "SERVICE_TOKEN_FILE": str(token),
        "PEER_INGEST": target,
        "EVENT_BATCH": "40",
        "LEASE_SECONDS": "1.5",
        "LOG_LEVEL": "WARNING",
    }
    running: list[asyncio.subprocess.Process] = []

    async def start() -> None:
        if running:
            running[-1].send_signal(signal.SIGKILL)
            await running[-1].wait()
        command = (sys.executable, "-m", "services.points", "serve", "--work")
        running.append(await asyncio.create_subprocess_exec(*command, env=environ))

    try:
        await start()
        yield start
    finally:
        running[-1].terminate()
        await asyncio.wait_for(running[-1].wait(), 15)


PORT_OF: dict[Path, str] = {}


def free_port(tmp: Path) -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        PORT_OF[tmp] = f"127.0.0.1:{probe.getsockname()[1]}"
    return PORT_OF[tmp]


async def publish(address: str, keys: Keys) -> None:
    """Draft and publish by RPC, as soon as the process serves."""
    tokens = [keys.token(roles={"operator"}, subject=who) for who in ("author", "publisher")]
    channels = [open_channel(address, token=lambda token=token: token, default_deadline=60) for token in tokens]  # type: ignore[misc]
    author, publisher = (v1.PointsServiceStub(channel) for channel in channels)
    await asyncio.wait_for(channels[0].channel_ready(), 90)
    rules = v1.RuleSet(name="main", definition=RULES)
    draft = (await author.CreateRuleSet(v1.CreateRuleSetRequest(rule_set=rules, request_id="1"))).rule_set
    of = {"rule_set_id": draft.rule_set_id, "request_id": "3"}
    await publisher.ValidateRuleSet(v1.ValidateRuleSetRequest(**of))
    await publisher.SimulateRuleSet(v1.SimulateRuleSetRequest(**of))
    await publisher.ApproveRuleSet(v1.ApproveRuleSetRequest(sha256=draft.sha256, **of))
    effective = Date(year=2026, month=1, day=1)
    await publisher.PublishRuleSet(
        v1.PublishRuleSetRequest(
            rule_set_id=draft.rule_set_id, sha256=draft.sha256, effective_date=effective, request_id="2"
        )
    )
    for channel in channels:
        await channel.close()


async def known(db: Database) -> int:
    async with db.read() as read:
        return int(await read.value(text("SELECT count(*) FROM business_event")))


async def until(wanted: Callable[[], Awaitable[bool]], seconds: float = 90) -> None:
    async with asyncio.timeout(seconds):
        while not await wanted():
            await asyncio.sleep(0.01)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_killed_in_mid_scoring_it_ends_with_the_same_ledger(
    databases: Databases, keys: Keys, tmp_path: Path
) -> None:
    events = business()
    calm = Desk(await Database.open(databases.fresh("points").url, schema="points", application="tests"))
    await calm.publish()
    await calm.learn()
    await calm.take(*events)
    database = databases.fresh("points")
    db = await Database.open(database.url, schema="points", application="tests")
    peer = ingest.Ingest(tmp_path)
    peer.log = [ingest.told(each) for each in events]
    address = free_port(tmp_path)
    async with ingest.serving(peer) as target, process(database, keys, tmp_path, target) as kill_and_start:
        # The events come first, the rules and the reference data later; it is killed on each stretch of the way.
        await until(lambda: is_at_least(db, 100))
        await kill_and_start()
        await publish(address, keys)
        for feed in FEEDS:
            peer.deliver(feed, ingest.FEEDS[feed])
        await until(lambda: is_at_least(db, TOTAL // 2))
        await kill_and_start()
        await until(lambda: is_at_least(db, TOTAL))
        killed = Desk(db)
        await until(lambda: settled(killed))
    assert await killed.waiting() == await calm.waiting()
    assert (await killed.period()).sha256 == (await calm.period()).sha256
    assert (await killed.period()).entries > TOTAL
    await calm.db.close()
    await db.close()


async def is_at_least(db: Database, count: int) -> bool:
    return await known(db) >= count


async def settled(desk: Desk) -> bool:
    async with desk.db.read() as read:
        due = await desk.store.events.any_due(read) or not await desk.store.references.ready(read)
    return not due


@pytest.mark.parametrize(("batch", "parts"), [(3, [3, 3, 1]), (5000, [7])])
async def test_ingest_makes_the_batches_and_its_trace_goes_on(tmp_path: Path, batch: int, parts: list[int]) -> None:
    peer = ingest.Ingest(tmp_path)
    events = business(7)
    peer.log = [ingest.told(each) for each in events]
    peer.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with ingest.serving(peer) as target, open_channel(target, token=str) as channel:
        found = []
        async for each in Ingest(IngestServiceStub(channel), batch).events(""):
            found.append(each)
            if each.cursor == str(len(events)):
                break
    assert [len(each.event or []) for each in found] == parts
    assert [event for each in found for event in each.event or []] == events
    assert {each.traceparent for each in found} == {peer.traceparent}


async def test_wrong_settings_are_all_told_at_once(database: Fresh, keys: Keys) -> None:
    environ = {"DATABASE_URL": database.url, "JWT_KEYS": str(keys.path), "BUSINESS_TIMEZONE": "Mars/X"}
    with pytest.raises(ConfigProblems) as settings:
        await app.run({**environ, "EVENT_BATCH": "0"}, False, True)
    assert [problem.split()[0].rstrip(":") for problem in settings.value.problems] == [
        "SERVICE_TOKEN_FILE", "PEER_INGEST", "BUSINESS_TIMEZONE", "EVENT_BATCH"
    ]  # fmt: skip


@pytest.mark.parametrize("amount", [0, 1, 8800, -3, None])
def test_an_event_of_the_log_is_read_as_it_was_told(amount: int | None) -> None:
    told = event(5, amount_fen=amount, product_id="", occur_time=datetime(2026, 9, 1, 3, 4, 5, 678, tzinfo=UTC))
    assert to_event(ingest.told(told)) == told


@pytest.mark.parametrize(("value", "amount"), [(12.0, 12), (1.5, None), ("1e3", None), ("", 0), (True, None)])
def test_an_amount_is_whole_fen_or_unreadable(value: Any, amount: int | None) -> None:
    message = ingest.told(event())
    message.attributes.update({"amount_fen": value})
    assert to_event(message).amount_fen == amount


def test_text_that_postgres_cannot_hold_is_replaced() -> None:
    message = ingest.told(event())
    message.attributes.update({"product_id": "P\0"})
    assert to_event(message).product_id == "P\ufffd"
