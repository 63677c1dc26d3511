"""A recalculation that is posted by processes which die by SIGKILL, again and again, ends as if it ran once."""

import asyncio
import os
import random
import signal
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from services.kit.db import Database
from services.points.domain.event import Event
from tests.fixtures.counts import FULL
from tests.fixtures.postgres import Databases, Fresh
from tests.fixtures.serving import Keys
from tests.points.desk import Desk
from tests.points.made import NOON, event, refund
from tests.points.test_periods import CAPPED, work

KILLS = 20 if FULL else 1


def business(count: int) -> list[Event]:
    """A month that a change of the rules moves as a whole, every ninth event taken back."""
    events = []
    for number in range(1, count + 1):
        when = NOON + timedelta(minutes=number)
        values = {
            "staff_id": f"S{number % 3 + 1}",
            "occur_time": when,
            "receive_time": when,
            "amount_fen": number % 997,
        }
        events.append(refund(number, number - 4, **values) if number % 9 == 0 else event(number, **values))
    return events


async def reported(desk: Desk, count: int) -> str:
    """A month with a recalculation that waits to be posted; gives its run."""
    await desk.learn()
    await desk.publish(CAPPED)
    events = business(count)
    for place in range(0, count, 1000):
        await desk.take(*events[place : place + 1000])
    await desk.publish(CAPPED.replace("fixed: 20000", "fixed: 25000"), date(2026, 9, 1), retroactive=True)
    job = await desk.periods.begin(desk.key(), "recalculate", "2026-09", "li.lei")
    await work(desk)
    run_id = str(job.spec["run_id"])
    assert (await desk.periods.run(run_id))[0].state == "DIFFERS"
    await desk.periods.begin_posting(desk.key(), run_id, "han.mei")
    return run_id


async def started(database: Fresh, keys: Keys, token: Path) -> asyncio.subprocess.Process:
    environ = os.environ | {
        "DATABASE_URL": database.url, "JWT_KEYS": str(keys.path), "SERVICE_TOKEN_FILE": str(token),
        "PEER_INGEST": "127.0.0.1:9", "LISTEN": "127.0.0.1:0", "LEASE_SECONDS": "1", "LOG_LEVEL": "ERROR",
    }  # fmt: skip
    return await asyncio.create_subprocess_exec(sys.executable, "-m", "services.points", "work", env=environ)


async def posted(db: Database) -> int:
    """Entries of the run so far."""
    async with db.read() as read:
        return int(await read.value(text("SELECT count(*) FROM points_entry WHERE run_id <> ''")))


async def until_posting_goes_on(desk: Desk, run_id: str, since: int) -> int:
    """Wait until one more batch is posted, or all of them."""
    async with asyncio.timeout(120):
        while (now := await posted(desk.db)) <= since:
            if (await desk.periods.run(run_id))[0].state == "POSTED":
                break
            await asyncio.sleep(0.005)
    return now


async def books(desk: Desk) -> tuple[set[tuple[object, ...]], str]:
    """Every entry by its id, and the period's checksum."""
    async with desk.db.read() as read:
        stmt = text(
            "SELECT entry_id, account, milli_points, period_id, coalesce(reverses_entry_id, '') FROM points_entry"
        )
        entries = [tuple(row) for row in await read.rows(stmt)]
    assert len({entry[0] for entry in entries}) == len(entries)
    assert sum(entry[2] for entry in entries) == 0
    return set(entries), (await desk.period()).accrual_sha256


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_killed_in_mid_posting_a_recalculation_ends_as_if_it_ran_once(
    databases: Databases, keys: Keys, tmp_path: Path
) -> None:
    """R000-017: reversing and new entries exactly once, whatever dies: 20 times in the full count."""
    count = 210 * (KILLS + 2)  # a batch is 200 events
    calm = Desk(await Database.open(databases.fresh("points").url, schema="points", application="tests"))
    assert await reported(calm, count) != ""
    await work(calm)
    database = databases.fresh("points")
    desk = Desk(await Database.open(database.url, schema="points", application="tests"))
    run_id = await reported(desk, count)
    token = tmp_path / "points.jwt"
    token.write_text(keys.token(roles={"service"}, subject="points"))
    chance, since, killed = random.Random(7), 0, 0
    for number in range(KILLS + 1):
        process = await started(database, keys, token)
        try:
            since = await until_posting_goes_on(desk, run_id, since)
            if number < KILLS:  # somewhere in the batch that comes next
                await asyncio.sleep(chance.uniform(0, 0.05))
                killed += (await desk.periods.run(run_id))[0].state != "POSTED"
            else:
                async with asyncio.timeout(300):
                    while (await desk.periods.run(run_id))[0].state != "POSTED":
                        await asyncio.sleep(0.05)
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()
    assert 2 * killed >= KILLS, "it was over too soon: nothing was interrupted"
    assert await books(desk) == await books(calm)
    await desk.db.close()
    await calm.db.close()
