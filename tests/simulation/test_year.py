"""R001-002, R001-023, R001-135: twelve months of operator files, one after the other, and nobody lifts a finger.

Only files are dropped, as an operator's systems drop them. Portraits, model, matrix and plan of every month come by
themselves; nothing fails, nothing waits for ever, and the months before stay what they were.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import asyncpg
import pytest

import journey
from deploy.local.run import Run
from tests.e2e.conftest import running
from tests.fixtures.counts import FULL, seeds
from tools.tidy import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

CUSTOMERS, DAYS, SEED = 120, 8, 5
MONTHS = len(seeds(1, 12))
FAILED = " UNION ALL ".join(
    f"SELECT '{service}' || ':' || kind || ':' || error FROM {service}.job WHERE state = 'FAILED'"
    for service in ("ingest", "portrait", "recommend", "contact")
)
STUCK = " UNION ALL ".join(
    f"SELECT '{service}' || ':' || consumer || ':' || error FROM {service}.consumer_cursor WHERE failures > 3"
    for service in ("ingest", "portrait", "recommend", "contact", "points", "admin")
)
# By month: a correction within it publishes once more.
PUBLISHED = {
    "portrait": "SELECT count(DISTINCT to_date) FROM portrait.run WHERE publish_time IS NOT NULL",
    "recommend": "SELECT count(DISTINCT as_of_date) FROM recommend.matrix",
    "contact": "SELECT count(DISTINCT plan_date) FROM contact.plan",
}


def month(number: int) -> date:
    """From September 2026, when the journey's campaigns begin to bid; they bid until December 2027."""
    return date(2026 + (8 + number) // 12, (8 + number) % 12 + 1, 1)


def city(folder: Path, number: int) -> Path:
    """The operator's files of one month; the customers are the same every month."""
    out = folder / f"{month(number):%Y%m}"
    command = [sys.executable, "-m", "city", "--customers", str(CUSTOMERS), "--days", str(DAYS), "--seed", str(SEED)]
    command += ["--start", month(number).isoformat(), "--out", str(out / "files"), "--truth", str(out / "truth")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    for orders in (out / "files").glob("ORDER_*.TXT"):
        number_anew(orders, number)
    return out


def number_anew(orders: Path, number: int) -> None:
    """Gives the month's orders ids of their own: a city of the same seed counts them from 1 every time."""
    data = b"".join(b"M%02d-%b" % (number, line) for line in orders.read_bytes().splitlines(keepends=True))
    orders.write_bytes(data)
    rows = data.count(b"\n")
    told = f"{orders.name}|{rows}|{hashlib.md5(data).hexdigest()}|{len(data)}\n"
    orders.with_suffix(".CHK").write_text(told)


async def drop(run: Run, files: Path) -> None:
    for data in journey.data_files(files):
        for source in (data, data.with_suffix(".CHK")):
            shutil.copyfile(source, run.landing / f".{source.name}.part")
            (run.landing / f".{source.name}.part").rename(run.landing / source.name)
        await asyncio.sleep(0)


async def come(admin: asyncpg.Connection[asyncpg.Record], wanted: dict[str, int], patience: float) -> None:
    """Waits until every service has published so often; what failed meanwhile ends the wait."""
    end = asyncio.get_running_loop().time() + patience
    while True:
        there = {service: await admin.fetchval(query) for service, query in PUBLISHED.items()}
        failed = [row[0] for row in await admin.fetch(f"{FAILED} UNION ALL {STUCK}")]
        assert not failed, failed
        if all(there[service] >= count for service, count in wanted.items()):
            return
        assert asyncio.get_running_loop().time() < end, f"{there} of {wanted} after {patience:.0f} s"
        await asyncio.sleep(0.5)


@pytest.mark.skipif(not FULL, reason="twelve months take a quarter of an hour: make chaos")
async def test_a_year_runs_by_itself(tmp_path: Path) -> None:
    with running(tmp_path / "state", {"WINDOW_DAYS": str(DAYS)}) as run:
        first = city(tmp_path, 0)
        await journey.travel(run.state, first, patience=900)  # what people decide once: policy, campaigns, rules
        admin = await asyncpg.connect(run.database_url)
        try:
            before = {service: await admin.fetchval(query) for service, query in PUBLISHED.items()}
            hashes = "SELECT run_no, sha256 FROM portrait.run ORDER BY run_no LIMIT $1"
            runs = await admin.fetch(hashes, before["portrait"])
            for number in range(1, MONTHS):
                await drop(run, city(tmp_path, number) / "files")
                await come(admin, {service: count + number for service, count in before.items()}, 900)
            assert (
                await admin.fetch("SELECT run_no, sha256 FROM portrait.run ORDER BY run_no LIMIT $1", len(runs)) == runs
            )
            assert not await admin.fetchval("SELECT count(*) FROM ingest.delivery WHERE state = 'QUARANTINED'")
            unscored = (
                "SELECT count(*) FROM points.business_event WHERE state NOT IN ('SCORED', 'SUSPENDED', 'NOTHING')"
            )
            assert await admin.fetchval(unscored) == 0
        finally:
            await admin.close()
