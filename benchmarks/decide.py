"""Decisions online, durable: in the use case against a service that makes one UPDATE for each, on the same Postgres;
and by gRPC against a bare echo, with what a call spends where.

Like for like is the service of one UPDATE that has what ours has: the kit's transactions, as many connections as we
decide with, and as many who ask at once; `ratio` is against it. A loop around a bare connection, which is no service,
shows what more connections and less around them would give: `ratio_to_bare` says by how many connections.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import uvloop
from rich.console import Console
from sqlalchemy.engine import make_url

from benchmarks.echo import METHOD
from deploy.local.postgres import Postgres
from lifecircle.contact.v1 import CHANNEL_SMS, DecideRequest, Place
from services.contact.usecases.deciding import Ask
from services.contact.usecases.decisions import AT_ONCE as CONNECTIONS
from services.contact.usecases.decisions import Decisions
from services.kit.clock import system_clock
from services.kit.db import Database
from services.kit.migrate import migrate
from tests.contact.counter import furnish, replica, rules
from tests.fixtures.serving import Keys

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {"decisions_per_second": 20_000, "ratio": 10, "p99_ms_at_half_load": 20, "grpc_ratio": 0.3}
CUSTOMERS, AT_ONCE, SECONDS, ROUNDS = 20_000, 2_048, 6.0, 3
BARE, CALLERS, CALL_SECONDS, CALLS = (CONNECTIONS, 16, 64), 256, 3.0, 15_000
PATH = "/lifecircle.contact.v1.ContactService/Decide"
_PLACE = (("", "sms"),)
_NUMBERS = itertools.count()

_NAIVE = """
DROP TABLE IF EXISTS contact.naive;
CREATE TABLE contact.naive (customer_key bigint PRIMARY KEY, used integer NOT NULL);
INSERT INTO contact.naive SELECT key, 0 FROM generate_series(1, 20000) AS key;
GRANT ALL ON contact.naive TO lc_contact;
"""
_UPDATE = "UPDATE contact.naive SET used = used + 1 WHERE customer_key = $1 AND used < 1000 RETURNING used"


def _ask() -> Ask:
    """The next request, each for another customer than those around it."""
    number = next(_NUMBERS)
    return Ask("bench", f"b{number}", 1 + number * 7 % CUSTOMERS, _PLACE)


def _quantiles(took: list[float]) -> dict[str, float]:
    took.sort()
    return {
        f"{name}_ms": round(1000 * took[int(part * (len(took) - 1))], 2) for name, part in (("p50", 0.5), ("p99", 0.99))
    }


class Cpu:
    """CPU seconds of this process and of Postgres's, from now on."""

    def __init__(self, postmaster: int) -> None:
        self._postmaster = psutil.Process(postmaster)
        self._began = self._now()

    def _now(self) -> tuple[float, float]:
        mine = resource.getrusage(resource.RUSAGE_SELF)
        theirs = 0.0
        for process in [self._postmaster, *self._postmaster.children(recursive=True)]:
            times = process.cpu_times()
            theirs += times.user + times.system
        return mine.ru_utime + mine.ru_stime, theirs

    def each(self, count: int) -> dict[str, float]:
        """Microseconds for each of so many."""
        parts = [now - began for now, began in zip(self._now(), self._began, strict=True)]
        return {
            f"{name}_cpu_us": round(1e6 * part / count, 1)
            for name, part in zip(("python", "postgres"), parts, strict=True)
        }


async def gathered(deciding: Decisions, seconds: float, at_once: int, postmaster: int) -> dict[str, float]:
    """Decide for so many at once, asked by tasks of this process; gives decisions/s, latencies and CPU of each."""
    took: list[float] = []
    cpu, started = Cpu(postmaster), time.perf_counter()
    end = started + seconds

    async def one() -> None:
        while (now := time.perf_counter()) < end:
            await deciding.decide(_ask())
            took.append(time.perf_counter() - now)

    await asyncio.gather(*(one() for _ in range(at_once)))
    spent = time.perf_counter() - started
    return {"decisions_per_second": round(len(took) / spent), **_quantiles(took), **cpu.each(len(took))}


async def paced(deciding: Decisions, seconds: float, rate: float) -> dict[str, float]:
    """Decisions that arrive at a rate, whatever the answers take; a latency counts from when the request was due."""
    took: list[float] = []
    started = time.perf_counter()

    async def one(due: float) -> None:
        await deciding.decide(_ask())
        took.append(time.perf_counter() - due)

    running, made = set[asyncio.Task[None]](), 0  # who is answered is kept no longer
    while (passed := time.perf_counter() - started) < seconds:
        for number in range(made, int(passed * rate)):
            task = asyncio.create_task(one(started + number / rate))
            running.add(task)
            task.add_done_callback(running.discard)
        made = max(made, int(passed * rate))
        await asyncio.sleep(0.0005)
    await asyncio.gather(*running)
    return {"rate": round(rate), **_quantiles(took[len(took) // 10 :])}


async def plain(url: str, seconds: float, postmaster: int) -> dict[str, float]:
    """The plain service: each decision an UPDATE in a transaction of its own, on as many connections as ours."""
    db = await Database.open(url, schema="contact", application="plain", size=CONNECTIONS)
    free, numbers, done = asyncio.Semaphore(CONNECTIONS), itertools.count(), 0
    cpu, started = Cpu(postmaster), time.perf_counter()

    async def one() -> None:
        nonlocal done
        while time.perf_counter() < started + seconds:
            async with free, db.begin() as tx:
                await tx.driver.fetchval(_UPDATE, 1 + next(numbers) * 7 % CUSTOMERS)
                await tx.commit()
            done += 1

    await asyncio.gather(*(one() for _ in range(AT_ONCE)))
    spent, each = time.perf_counter() - started, cpu.each(done)  # while its connections are there to be asked
    await db.close()
    return {"decisions_per_second": round(done / spent), **each}


async def bare(url: str, seconds: float, connections: int) -> float:
    """No service: so many connections that each make one UPDATE after the other; gives UPDATEs/s."""
    opened = [await asyncpg.connect(url) for _ in range(connections)]
    numbers, done, started = itertools.count(), 0, time.perf_counter()

    async def one(connection: asyncpg.Connection) -> None:
        nonlocal done
        while time.perf_counter() < started + seconds:
            await connection.fetchval(_UPDATE, 1 + next(numbers) * 7 % CUSTOMERS)
            done += 1

    await asyncio.gather(*map(one, opened))
    spent = time.perf_counter() - started
    for connection in opened:
        await connection.close()
    return round(done / spent)


async def others(url: str, admin_url: str, postmaster: int) -> dict[str, Any]:
    """What one UPDATE for each decision comes to, as a service and without one."""
    administrator = await asyncpg.connect(admin_url)
    await administrator.execute(_NAIVE)
    await administrator.close()
    service = await plain(url, SECONDS / 3, postmaster)
    return {"service": service, "bare": {str(count): await bare(url, SECONDS / 4, count) for count in BARE}}


async def compare(url: str, admin_url: str, postmaster: int) -> dict[str, Any]:
    """Both in turns, then half of the load."""
    db = await Database.open(url, schema="contact", application="decide")
    await furnish(db, customers=CUSTOMERS, rule=rules(most=2))
    deciding = await replica(db, customers=CUSTOMERS, clock=system_clock)
    await gathered(deciding, 1.0, AT_ONCE, postmaster)
    gc.collect()
    gc.freeze()  # as a service does when it has started
    rounds = []
    for _ in range(ROUNDS):
        ours = await gathered(deciding, SECONDS, AT_ONCE, postmaster)
        rounds.append((ours, await others(url, admin_url, postmaster)))
    best = max((ours for ours, _ in rounds), key=lambda one: one["decisions_per_second"])
    half = await paced(deciding, SECONDS, best["decisions_per_second"] / 2)
    half_of_floor = await paced(deciding, SECONDS, FLOORS["decisions_per_second"] / 2)
    await db.close()
    return {
        "gathered": best,
        "one_update_each": rounds[-1][1],
        "ratio": _ratios([(ours, theirs["service"]["decisions_per_second"]) for ours, theirs in rounds]),
        "ratio_to_bare": {
            str(count): _ratios([(ours, theirs["bare"][str(count)]) for ours, theirs in rounds]) for count in BARE
        },
        "half_load": half,
        "half_of_the_floor": half_of_floor,
    }


def _ratios(rounds: list[tuple[dict[str, float], float]]) -> dict[str, Any]:
    every = [round(ours["decisions_per_second"] / theirs, 1) for ours, theirs in rounds]
    return {"median": statistics.median(every), "all": every}


def called(target: str, method: str, token: str, requests: list[str], pid: int) -> dict[str, float]:
    """Calls one server for some seconds; gives calls/s, latencies and the server's CPU for each."""
    process = psutil.Process(pid)
    before = process.cpu_times()
    order = {"target": target, "method": method, "token": token, "requests": requests}
    caller = subprocess.run(
        [sys.executable, "-m", "benchmarks.caller"],
        input=json.dumps({**order, "at_once": CALLERS, "seconds": CALL_SECONDS}) + "\n",
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    after, said = process.cpu_times(), json.loads(caller.stdout)
    spent = after.user + after.system - before.user - before.system
    figures = {"calls_per_second": said["calls"] / said["seconds"], "server_cpu_us": 1e6 * spent / said["calls"]}
    return {name: round(value, 1) for name, value in figures.items()} | {
        f"{name}_ms": value for name, value in said["milliseconds"].items()
    }


def served(url: str, folder: Path) -> dict[str, Any]:
    """Decide by gRPC and a bare echo in turns, each in a process of its own."""
    keys = Keys(folder / "jwks.json")
    token = keys.token({"service"}, subject="bench")
    order = json.dumps({"url": url, "keys": str(keys.path), "customers": CUSTOMERS}) + "\n"
    numbers, rounds = itertools.count(), []
    deciding = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.decide_server"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    echo = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.echo", "120"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert deciding.stdin is not None
        deciding.stdin.write(order)
        deciding.stdin.flush()
        ports = []
        for process in (deciding, echo):
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            ports.append(next(line.strip() for line in lines if line.strip().isdigit()))
        for _ in range(ROUNDS):
            asked = [
                DecideRequest(
                    customer_key=1 + number * 7 % CUSTOMERS,
                    places=[Place(channel=CHANNEL_SMS)],
                    request_id=f"g{number}",
                ).SerializeToString().hex()
                for number in itertools.islice(numbers, CALLS)
            ]  # fmt: skip
            bare = called(f"127.0.0.1:{ports[1]}", METHOD, "", asked, echo.pid)
            rounds.append((called(f"127.0.0.1:{ports[0]}", PATH, token, asked, deciding.pid), bare))
    finally:
        deciding.kill()
        echo.kill()
        deciding.wait()
        echo.wait()
    ratios = sorted(ours["calls_per_second"] / bare["calls_per_second"] for ours, bare in rounds)
    return {
        "decide": max((ours for ours, _ in rounds), key=lambda one: one["calls_per_second"]),
        "echo": max((bare for _, bare in rounds), key=lambda one: one["calls_per_second"]),
        "ratio_to_bare_echo": {"median": round(statistics.median(ratios), 3), "all": [round(one, 3) for one in ratios]},
        "at_once": CALLERS,
    }


def measure(console: Console) -> dict[str, Any]:
    """Starts a Postgres with durable commits, migrates and measures."""
    folder = Path(tempfile.mkdtemp(prefix="lifecircle-decide-"))
    server = Postgres.start(folder / "data", settings={"shared_buffers": "256MB"})
    try:
        environ = {"ADMIN_DATABASE_URL": server.url, "DATABASE_URL": _role(server.url)}
        migrate("contact", environ, None)
        postmaster = int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])
        console.print("decides in the use case")
        figures = uvloop.run(compare(environ["DATABASE_URL"], server.url, postmaster))
        console.print("decides by gRPC")
        by_grpc = served(environ["DATABASE_URL"], folder)
        ours, theirs = figures["gathered"], by_grpc["decide"]
        parts = {
            "use_case_us": ours["python_cpu_us"],
            "grpc_and_chain_us": round(theirs["server_cpu_us"] - ours["python_cpu_us"], 1),
            "postgres_us": ours["postgres_cpu_us"],
            "echo_us": by_grpc["echo"]["server_cpu_us"],
        }
        return {
            "data": f"{CUSTOMERS} customers, cap 2 in 30 days, 3 offers, durable commits, one deciding process",
            **figures,
            "grpc": {**by_grpc, "cpu_of_a_call": parts},
            "floors": FLOORS,
        }
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _role(url: str) -> str:
    """The service's own role in the same database."""
    return make_url(url).set(username="lc_contact", password="benchmark").render_as_string(False)
