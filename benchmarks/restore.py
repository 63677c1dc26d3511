"""The restore drill at the reference size: a city of a million customers is lost with its machine and comes back.

A writer commits all the while. The server is killed and the state removed; then the state is restored from base backup
and received log, and started. RTO is from the beginning of the restore until the database answers a query; RPO is how
much time of the writer's commits is missing. Every table's checksum is compared.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import asyncpg
from rich.console import Console

from deploy.local import backup, processes, run
from deploy.local.postgres import Postgres
from deploy.local.run import POSTGRES, Run

CUSTOMERS = int(os.environ.get("RESTORE_CUSTOMERS", "1000000"))
EVENTS = 3  # rows of the event log a customer
LAKE_FILES, FILE_BYTES = 64, 16 * 1024 * 1024

# What a customer is in PostgreSQL, by size: a portrait of 1,500 bytes, and events of 160.
SETUP = """
CREATE SCHEMA reference;
CREATE TABLE reference.portrait (customer_key bigint PRIMARY KEY, content bytea NOT NULL);
ALTER TABLE reference.portrait ALTER content SET STORAGE EXTERNAL;
CREATE TABLE reference.event (event_no bigint PRIMARY KEY, customer_key bigint NOT NULL, content bytea NOT NULL);
CREATE TABLE reference.written (number bigint PRIMARY KEY, time timestamptz NOT NULL DEFAULT clock_timestamp());
"""
PORTRAITS = """
INSERT INTO reference.portrait SELECT n, convert_to(repeat(md5(n::text), 47), 'UTF8')
FROM generate_series($1::bigint, $2) n
"""
LOGGED = """
INSERT INTO reference.event SELECT n, n / 3, convert_to(repeat(md5(n::text), 5), 'UTF8')
FROM generate_series($1::bigint, $2) n
"""


def measure(console: Console) -> dict[str, Any]:
    """Loses a machine of the reference size and brings it back; gives the figures."""
    with tempfile.TemporaryDirectory(prefix="lifecircle-restore-") as name:
        folder = Path(name)
        made = _city(folder / "state", console)
        to, going = folder / "backup", threading.Event()
        going.set()
        told: list[str] = []
        following = threading.Thread(target=backup.follow, args=(made, to, going.is_set, told.append))
        began = time.monotonic()
        following.start()
        writer = threading.Thread(target=_write, args=(made.database_url, going))
        writer.start()
        while not told:
            time.sleep(0.1)
        backed_up = time.monotonic() - began
        console.print(f"base backup in {backed_up:.0f} s, while a writer commits")
        asyncio.run(_execute(made.database_url, LOGGED, CUSTOMERS * EVENTS + 1, CUSTOMERS * EVENTS + CUSTOMERS // 10))
        expected = asyncio.run(backup.checksums(made.database_url))
        time.sleep(5)  # the writer goes on; then the machine dies without a word
        last = asyncio.run(_value(made.database_url, "SELECT max(time) FROM reference.written"))
        processes.stop([made.children[POSTGRES]], how=signal.SIGKILL)
        going.clear()
        writer.join()
        following.join()
        bytes_of = {"database": _size(made.state / POSTGRES), "lake": _size(made.lake), "log": _size(to / "wal")}
        shutil.rmtree(made.state)
        figures = _come_back(to, folder / "again", expected, last)
    return {
        "data": f"{CUSTOMERS:,} customers, {CUSTOMERS * EVENTS:,} events; {bytes_of} bytes; a commit every 20 ms",
        "base_backup_seconds": round(backed_up, 1),
        **figures,
        "floor": "RPO <= 60 s, RTO <= 900 s, checksums equal",
    }


def _city(state: Path, console: Console) -> Run:
    began = time.monotonic()
    server = Postgres.start(state / POSTGRES, settings={"max_wal_size": "4GB"})
    made = run.plan(state, 0, processes.free_ports(2), [], {}, {})
    made.database_url, made.postgres_port = server.url, server.port
    made.children[POSTGRES] = server.child
    made.keys.prepare()
    made.lake.mkdir()
    for number in range(LAKE_FILES):
        (made.lake / f"{number}.parquet").write_bytes(os.urandom(FILE_BYTES))
    asyncio.run(_execute(server.url, SETUP))
    step = max(1, CUSTOMERS // 10)
    for first in range(1, CUSTOMERS + 1, step):
        asyncio.run(_execute(server.url, PORTRAITS, first, min(first + step - 1, CUSTOMERS)))
        asyncio.run(_execute(server.url, LOGGED, (first - 1) * EVENTS + 1, (first + step - 1) * EVENTS))
    console.print(f"a city of {CUSTOMERS:,} customers in {time.monotonic() - began:.0f} s")
    return made


def _write(url: str, going: threading.Event) -> None:
    """Commits a row every 20 ms until the server is gone."""

    async def work() -> None:
        connection = await asyncpg.connect(url)
        number = 0
        while going.is_set():
            number += 1
            await connection.execute("INSERT INTO reference.written (number) VALUES ($1)", number)
            await asyncio.sleep(0.02)

    try:
        asyncio.run(work())
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return  # the machine is lost: this is the drill


def _come_back(to: Path, state: Path, expected: dict[str, tuple[int, str]], last: Any) -> dict[str, Any]:
    began = time.monotonic()
    restored = backup.restore(to, state)
    server = Postgres.start(state / POSTGRES)
    found = asyncio.run(_value(server.url, "SELECT max(time) FROM reference.written"))
    seconds = time.monotonic() - began
    sums = asyncio.run(backup.checksums(server.url))
    server.stop()
    still = {name: value for name, value in expected.items() if name != "reference.written"}
    return {
        "rto_seconds": round(seconds, 1),
        "of_it_replay_and_copy": round(restored.seconds, 1),
        "rpo_seconds": round(max(0.0, (last - found).total_seconds()), 3),
        "tables_compared": len(still),
        "checksums_equal": all(sums[name] == value for name, value in still.items()),
        "lake_files": len(list((state / "lake").iterdir())),
    }


async def _execute(url: str, statement: str, *arguments: object) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement, *arguments, timeout=600)
    finally:
        await connection.close()


async def _value(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
