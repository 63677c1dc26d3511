"""Decisions online in the use case, durable, against a service that makes one UPDATE for each, on the same Postgres."""

from __future__ import annotations

import asyncio
import itertools
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg
from rich.console import Console
from sqlalchemy.engine import make_url

from deploy.local.postgres import Postgres
from services.kit.clock import system_clock
from services.kit.db import Database
from services.kit.migrate import migrate
from tests.contact.counter import ask, furnish, replica, rules

CUSTOMERS, AT_ONCE, SECONDS = 20_000, 1_536, 8.0
BIDDERS = 16

_NAIVE = """
CREATE TABLE naive (customer_key bigint PRIMARY KEY, used integer NOT NULL);
INSERT INTO naive SELECT key, 0 FROM generate_series(1, 20000) AS key;
"""


async def gathered(db: Database, seconds: float, at_once: int) -> dict[str, float]:
    """Decide for so many at once; gives decisions/s, latencies and this process's CPU per decision."""
    deciding = await replica(db, customers=CUSTOMERS, clock=system_clock)
    numbers, took = itertools.count(1), []
    await deciding.decide(ask(1, request_id="warm"))
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    end = started + seconds

    async def one() -> None:
        while (now := time.perf_counter()) < end:
            number = next(numbers)
            await deciding.decide(ask(1 + number * 7 % CUSTOMERS, request_id=f"{started}-{number}"))
            took.append(time.perf_counter() - now)

    await asyncio.gather(*(one() for _ in range(at_once)))
    spent, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    took.sort()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "decisions_per_second": round(len(took) / spent),
        "p50_ms": round(1000 * took[len(took) // 2], 2),
        "p99_ms": round(1000 * took[int(0.99 * len(took))], 2),
        "cpu_us": round(1e6 * cpu / len(took), 1),
    }


async def paced(db: Database, seconds: float, rate: float) -> dict[str, float]:
    """Decisions that arrive at a rate, whatever the answers take; gives latencies."""
    deciding = await replica(db, customers=CUSTOMERS, clock=system_clock)
    took: list[float] = []
    started = time.perf_counter()

    async def one(number: int) -> None:
        now = time.perf_counter()
        await deciding.decide(ask(1 + number * 11 % CUSTOMERS, request_id=f"paced-{started}-{number}"))
        took.append(time.perf_counter() - now)

    running, made = [], 0
    while (passed := time.perf_counter() - started) < seconds:
        for number in range(made, int(passed * rate)):
            running.append(asyncio.create_task(one(number)))
        made = max(made, int(passed * rate))
        await asyncio.sleep(0.001)
    await asyncio.gather(*running)
    took.sort()
    return {
        "rate": round(rate),
        "p50_ms": round(1000 * took[len(took) // 2], 2),
        "p99_ms": round(1000 * took[int(0.99 * len(took))], 2),
    }


async def one_by_one(url: str, seconds: float) -> dict[str, float]:
    """The plain service: each decision an UPDATE of its own, by 16 connections."""
    connections = [await asyncpg.connect(url) for _ in range(BIDDERS)]
    await connections[0].execute(_NAIVE)
    numbers, done, started = itertools.count(), 0, time.perf_counter()

    async def one(connection: asyncpg.Connection) -> None:
        nonlocal done
        while time.perf_counter() < started + seconds:
            await connection.fetchval(
                "UPDATE naive SET used = used + 1 WHERE customer_key = $1 AND used < 1000 RETURNING used",
                1 + next(numbers) * 7 % CUSTOMERS,
            )
            done += 1

    await asyncio.gather(*map(one, connections))
    spent = time.perf_counter() - started
    for connection in connections:
        await connection.close()
    return {"decisions_per_second": round(done / spent)}


async def compare(url: str, admin_url: str) -> dict[str, Any]:
    """Both in turns, then half of the load."""
    db = await Database.open(url, schema="contact", application="decide")
    await furnish(db, customers=CUSTOMERS, rule=rules(most=2))
    rounds = []
    for _ in range(2):
        rounds.append((await gathered(db, SECONDS, AT_ONCE), await one_by_one(admin_url, SECONDS / 2)))
        connection = await asyncpg.connect(admin_url)
        await connection.execute("DROP TABLE naive")
        await connection.close()
    best = max((ours for ours, _ in rounds), key=lambda one: one["decisions_per_second"])
    half = await paced(db, SECONDS / 2, best["decisions_per_second"] / 2)
    await db.close()
    ratios = [ours["decisions_per_second"] / plain["decisions_per_second"] for ours, plain in rounds]
    return {
        "data": f"{CUSTOMERS} customers, cap 2 in 30 days, 3 offers, durable commits, one deciding process",
        "gathered": best,
        "one_update_each": rounds[-1][1],
        "ratio": round(max(ratios), 1),
        "half_load": half,
        "floors": {"decisions_per_second": 20_000, "ratio": 10, "p99_ms_at_half_load": 20},
    }


def measure(console: Console) -> dict[str, Any]:
    """Starts a Postgres with durable commits, migrates and measures."""
    folder = Path(tempfile.mkdtemp(prefix="lifecircle-decide-"))
    server = Postgres.start(folder / "data", settings={"shared_buffers": "256MB"})
    try:
        console.print("furnishes and decides")
        environ = {"ADMIN_DATABASE_URL": server.url, "DATABASE_URL": _role(server.url)}
        migrate("contact", environ, None)
        return asyncio.run(compare(environ["DATABASE_URL"], server.url))
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _role(url: str) -> str:
    """The service's own role in the same database."""
    return make_url(url).set(username="lc_contact", password="benchmark").render_as_string(False)
