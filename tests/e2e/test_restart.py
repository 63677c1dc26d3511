"""R001-130, R002-098: every service is killed once in mid job and restarted; in the end the platform holds the same."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from io import StringIO
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from rich.console import Console

import journey
import truth
from deploy.local.run import Run
from deploy.local.services import service_pid, start_service
from lifecircle import Lifecircle
from lifecircle.points.v1 import ListEntriesRequest
from lifecircle.recommend.v1 import RecommendRequest
from tests.e2e.conftest import running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

# When a service is in the middle of its work, as its own tables say.
MID_JOB = {
    "ingest": "SELECT count(*) > 0 FROM ingest.job WHERE state = 'RUNNING' AND kind = 'load'",
    "portrait": "SELECT count(*) > 0 FROM portrait.job WHERE state = 'RUNNING'",
    "recommend": "SELECT count(*) > 0 FROM recommend.job WHERE state = 'RUNNING'",
    "contact": "SELECT count(*) > 0 FROM contact.job WHERE state = 'RUNNING'",
    "points": "SELECT EXISTS (SELECT FROM points.points_entry) AND (SELECT count(*) FROM points.business_event)"
    " < (SELECT count(*) FROM ingest.event WHERE type LIKE 'business.%')",
}


async def kill_in_mid_job(run: Run, service: str) -> None:
    """Waits until a service is at work, kills it with SIGKILL and starts it again."""
    admin = await asyncpg.connect(run.database_url)
    try:
        while not await admin.fetchval(MID_JOB[service]):
            await asyncio.sleep(0.01)
    finally:
        await admin.close()
    os.kill(service_pid(run, service), signal.SIGKILL)
    await asyncio.to_thread(start_service, run, service)


async def known_first(run: Run, city: Path) -> None:
    """Loads the customers alone, so that their keys, and with them every hash of a key, are the same in every run; then
    all but signalling, so that the first portraits are made of the same files in every run."""
    files = [path for path in journey.data_files(city / "files") if not path.name.startswith("SIGNAL")]
    files.sort(key=lambda path: not path.name.startswith("CUST_"))
    admin = await asyncpg.connect(run.database_url)
    settled = "SELECT count(*) FROM ingest.delivery WHERE state IN ('LOADED', 'QUARANTINED', 'SUPERSEDED')"
    for number, path in enumerate(files):
        for source in (path, path.with_suffix(".CHK")):
            part = run.landing / f".{source.name}.part"
            shutil.copyfile(source, part)
            part.rename(run.landing / source.name)
        while number in (0, len(files) - 1) and await admin.fetchval(settled) <= number:
            await asyncio.sleep(0.05)
    await admin.close()


async def walk(run: Run, city: Path, kill: bool) -> dict[str, Any]:
    """Makes the journey, with every service killed on the way or with none."""
    await known_first(run, city)
    killers = [asyncio.create_task(kill_in_mid_job(run, service)) for service in MID_JOB] if kill else []
    found = await journey.travel(run.state, city, patience=600, console=Console(file=StringIO()))
    for killer in killers:
        await asyncio.wait_for(killer, 30)  # each of them has struck, or the test proved nothing
    await all_done(run)
    return found


async def all_done(run: Run) -> None:
    """Waits until points has taken every business event, whose lease must run out after a kill before it goes on, and
    portrait has done what follows a run: early warnings, the wide table."""
    admin = await asyncpg.connect(run.database_url)
    while await admin.fetchval(
        "SELECT (SELECT count(*) FROM points.business_event)"
        " < (SELECT count(*) FROM ingest.event WHERE type LIKE 'business.%')"
        " OR EXISTS (SELECT FROM portrait.job WHERE state IN ('QUEUED', 'RUNNING'))"
    ):
        await asyncio.sleep(0.1)
    await admin.close()


async def holdings(run: Run, city: Path, found: dict[str, Any]) -> dict[str, Any]:
    """Gives what callers can read in the end, without ids and times that the platform assigns."""
    token = run.keys.token("demo").read_text().strip()
    async with Lifecircle(run.front_door, token=token) as platform:
        with (city / "truth" / "customers.csv").open() as file:
            numbers = [line.split(",")[0] for line in list(file)[1:]]
        keys = await truth.resolve(platform, numbers)
        portraits = await truth.portraits(platform, list(keys.values()))
        while not any(one.HasField("life_cycle") for one in portraits.values()):  # until the readers look again
            await asyncio.sleep(0.2)
            portraits = await truth.portraits(platform, list(keys.values()))
        for one in portraits.values():  # ids and times that the platform assigns
            one.run_id = ""
            for offer in one.offers:
                offer.matrix_id = ""
            one.ClearField("contacts")  # told by contact's stream, which may be on its way; plan and effects are below
        offered = {}
        for key in sorted(keys.values())[:50]:
            said = await platform.recommend.Recommend(RecommendRequest(customer_key=key, most=20))
            offered[key] = [(one.product_id, round(one.score, 12)) for one in said.recommendations]
        ledger = []
        token = ""
        while True:
            page = await platform.points.ListEntries(ListEntriesRequest(page_size=1000, page_token=token))
            ledger += [(one.account, one.milli_points, one.rule_id, one.period_id) for one in page.entries]
            token = page.next_page_token
            if not token:
                break
    plan = found["plan"]
    return {
        "keys": keys,
        "portraits": portraits,
        "offered": offered,
        "ledger": sorted(ledger),
        "loads": found["ingest: operator files"],
        "plan": (plan.contacts, plan.control_contacts, plan.objective_fen),
        "effects": [(one.name, one.response, one.opening, one.control_opening) for one in found["effects"]],
    }


def test_killed_once_each_in_mid_job_the_platform_ends_the_same(city: Path, tmp_path: Path) -> None:
    ends = []
    for name, kill in (("calm", False), ("killed", True)):
        with running(tmp_path / name, {"EVENT_BATCH": "10"}) as run:  # so that few events are many transactions
            found = asyncio.run(walk(run, city, kill))
            ends.append(asyncio.run(holdings(run, city, found)))
    calm, killed = ends
    assert json.dumps(calm["ledger"]) == json.dumps(killed["ledger"])
    for name in calm:
        assert calm[name] == killed[name], name
