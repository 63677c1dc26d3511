"""The real process, killed by SIGKILL in mid load again and again: in the end the tables are those of a calm run."""

import asyncio
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.fixtures.counts import FULL, seeds
from tests.fixtures.postgres import Databases, Fresh
from tests.fixtures.serving import Keys
from tests.ingest.made import drop
from tools.tidy import ROOT

ROWS = 200_000
PARTS, DELIVERIES, STRIKES = 5, 10, 2
"""At full count: so many times so many deliveries, each struck so often. That is 100 kills over 50 deliveries."""


def files() -> dict[str, bytes]:
    """One large day of signalling, a small one, and events; with dirt, and customers that overlap."""
    day = [
        f"138{row % 9000:08d}|20260901{row // 3600 % 24:02d}{row // 60 % 60:02d}{row % 60:02d}|4|40976|{row % 5000}\n"
        for row in range(ROWS)
    ]
    day[1000::5000] = ["13800000001|nonsense\n"] * len(day[1000::5000])
    orders = [f"O{row}|138{row:08d}|P01|open|20260901120000\n" for row in range(8000, 12000)]
    small = [f"138{row:08d}|20260902000000|5|40976|1\n" for row in range(11000, 14000)]
    named = {"SIGNAL_20260901_001.TXT": day, "SIGNAL_20260902_001.TXT": small, "ORDER_20260901_001.TXT": orders}
    for day_number in seeds(0, DELIVERIES - 3):
        period = date(2026, 9, 3) + timedelta(days=day_number)
        named[f"SIGNAL_{period:%Y%m%d}_001.TXT"] = [
            f"138{row % (9000 + 100 * day_number):08d}|{period:%Y%m%d}{row // 3600 % 24:02d}0000|4|40976|1\n"
            for row in range(60_000)
        ]
    return {name: "".join(rows).encode() for name, rows in named.items()}


class Process:
    """Ingest as a process of its own over one database and one folder."""

    def __init__(self, database: Fresh, keys: Keys, root: Path, **settings: str) -> None:
        self.root = root
        self.landing = root / "landing"
        self.landing.mkdir(parents=True)
        vault = root / "vault.json"
        vault.write_text(json.dumps({"version": 1, "token_key": "ab" * 32, "vault_key": "cd" * 32}))
        ours = {"DATABASE_URL": database.url, "JWT_KEYS": keys.path, "VAULT_KEYS": vault, "LANDING": self.landing,
                "LAKE_URL": (root / "lake").as_uri(), "LISTEN": "127.0.0.1:0", "JOB_LEASE": "1",
                "LANDING_POLL": "0.1", "POLARS_MAX_THREADS": "1", **settings}  # fmt: skip
        self._environ = os.environ | {name: str(value) for name, value in ours.items()}
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "services.ingest", "serve", "--work"]
        with (self.root / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, env=self._environ, stdout=log, stderr=log)

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def most_memory(self) -> int:
        """The most resident bytes that it ever had."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)


async def until(what: str, holds: Callable[[], Awaitable[Any]], patience: float = 60) -> None:
    give_up = time.monotonic() + patience
    while not await holds():
        assert time.monotonic() < give_up, what
        await asyncio.sleep(0.005)


async def load(database: Fresh, keys: Keys, root: Path, kills: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Load the deliveries one after the other, each with kills so many seconds after a load was seen running; gives
    what there is in the end."""
    process = Process(database, keys, root)
    connection = await asyncpg.connect(database.admin_url, server_settings={"search_path": "ingest"})
    try:
        for number, (name, data) in enumerate(files().items(), 1):
            drop(process.landing, name, data)
            running = "SELECT count(*) FROM job WHERE state = 'RUNNING' AND lease_until > clock_timestamp()"
            done = f"SELECT count(*) = {number} FROM delivery WHERE state = 'LOADED'"
            for seconds in kills[number - 1]:
                await until("a load runs", lambda: connection.fetchval(f"SELECT ({running}) > 0 OR ({done})"))  # noqa: B023
                await asyncio.sleep(seconds)
                process.kill()
                process.start()
            await until("it is loaded", lambda: connection.fetchval(done))  # noqa: B023
        taken = root / "landing" / ".taken"
        await until("all is put away", lambda: asyncio.to_thread(lambda: not left_over(taken, root / "lake")))
        attempts = await connection.fetchval("SELECT max(attempt) FROM job")
        assert (attempts > 1) == any(kills), "no load was struck"
        return await found(connection, root)
    finally:
        process.stop()
        await connection.close()


def left_over(taken: Path, lake: Path) -> list[Path]:
    """What a load under way keeps, or one that died left."""
    spilled = lake / "ingest" / ".spill"
    return [*taken.iterdir(), *(spilled.iterdir() if spilled.is_dir() else ())]


async def found(connection: Any, root: Path) -> dict[str, Any]:
    """Everything but what the platform makes up: ids, times, sealed bytes."""
    rows: dict[str, Any] = {}
    for name, query in {
        "delivery": "SELECT file_name, state, source_rows, loaded_rows, rejected_rows FROM delivery ORDER BY 1",
        "reject": "SELECT file_name, line, column_name, reason FROM reject NATURAL JOIN delivery ORDER BY 1, 2",
        "vault": "SELECT count(*), min(customer_key), max(customer_key), count(DISTINCT token) FROM vault",
        "event": "SELECT source_event_id, type, occur_time, said, line FROM event ORDER BY 1",
        "numbers": "SELECT source_event_id, encode(token, 'hex') FROM event JOIN vault USING (customer_key) ORDER BY 1",
        "outbox": "SELECT payload ->> 'file_name' FROM outbox ORDER BY 1",
        "files": "SELECT file_name, bucket, rows FROM lake_file JOIN delivery USING (delivery_id) ORDER BY 1, 2",
    }.items():
        rows[name] = [tuple(row) for row in await connection.fetch(query)]
    manifest = await connection.fetch("SELECT path, sha256 FROM lake_file")
    lake = {
        str(path.relative_to(root / "lake")): path for path in (root / "lake" / "ingest").rglob("*") if path.is_file()
    }
    assert set(lake) == {row["path"] for row in manifest}, "a file too many, or one that is missing"
    for row in manifest:
        assert hashlib.sha256(lake[row["path"]].read_bytes()).hexdigest() == row["sha256"]
    return rows


@pytest.mark.slow
@pytest.mark.timeout(600 if FULL else 300)
@pytest.mark.parametrize("part", seeds(1, PARTS))
async def test_killed_in_mid_load_it_resumes_and_ends_as_if_nothing_had_happened(
    databases: Databases, keys: Keys, tmp_path: Path, part: int
) -> None:
    """R000-014: at full count 100 kills over 50 deliveries, in five parts with a calm run each."""
    count = len(files())
    calm = await load(databases.fresh("ingest"), keys, tmp_path / "calm", [[]] * count)
    seed = random.randrange(10**6)
    moments = random.Random(seed)
    kills = [[0, moments.uniform(0, 0.4)], [], [moments.uniform(0, 0.4)]]
    if FULL:
        kills = [[moments.uniform(0, 0.5) for _ in range(STRIKES)] for _ in range(count)]
        assert (count, sum(map(len, kills))) == (50 // PARTS, 100 // PARTS)
    shaken = await load(databases.fresh("ingest"), keys, tmp_path / "shaken", kills)
    assert calm["delivery"][1] == ("SIGNAL_20260901_001.TXT", "LOADED", ROWS, ROWS - 40, 40)
    for name in calm:
        assert shaken[name] == calm[name], (name, part, seed)
    assert "1380000" not in (tmp_path / "shaken" / "log").read_text()
