"""The service as a process of its own, killed without warning in the middle of its work."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from lifecircle.contact import v1 as proto
from services.kit.channel import open_channel
from tests.contact.desk import PLAN_DAY, Desk, until
from tests.contact.town import Town, number, playing
from tests.fixtures.postgres import Databases, Fresh
from tests.fixtures.serving import Keys

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = range(1, 61)


@dataclass
class Process:
    """One process of contact after the other, on the same port and database."""

    environ: dict[str, str]
    running: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        command = [sys.executable, "-m", "services.contact", "serve", "--work"]
        self.running = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=self.environ, stderr=asyncio.subprocess.DEVNULL
        )

    async def kill(self, how: signal.Signals = signal.SIGKILL) -> int:
        assert self.running is not None
        self.running.send_signal(how)
        return await self.running.wait()


@asynccontextmanager
async def process(
    fresh: Fresh, keys: Keys, town: Town, folder: Path, **more: str
) -> AsyncIterator[tuple[Process, Desk]]:
    """The service with its desk; `more` are further settings."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    token = folder / "token"
    token.write_text(keys.token(roles={"service", "privacy"}))
    environ = {
        **os.environ,
        "DATABASE_URL": fresh.url,
        "LISTEN": listen,
        "JWT_KEYS": str(keys.path),
        "SERVICE_TOKEN_FILE": str(token),
        "PEER_INGEST": town.target,
        "PEER_RECOMMEND": town.target,
        "OCRM_OUT": str(folder / "ocrm"),
        "DRAIN_SECONDS": "0",
        **more,
    }
    process = Process(environ)
    await process.start()
    operator = keys.token(roles={"operator"})
    channel = open_channel(listen, token=lambda: operator)
    try:
        yield process, Desk(proto.ContactServiceStub(channel))
    finally:
        await channel.close()
        if process.running is not None and process.running.returncode is None:
            assert await process.kill(signal.SIGTERM) == 0


async def patiently(call: Any, request: Any) -> Any:
    """The answer, once the process listens (again)."""

    async def asked() -> Any:
        try:
            return await call(request)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            return None

    return await until(asked, 60)


async def killed_in_the_middle(process: Process, fresh: Fresh, town: Town, kind: str) -> None:
    """Kill the process while it works on a job that cannot go on, and start it again; its leases have run out."""

    async def at_work() -> Any:
        return fresh.admin("SELECT 1 FROM contact.job WHERE state = 'RUNNING' AND kind = $1", kind)

    await until(at_work, 60)
    await asyncio.sleep(0.2)
    await process.kill()
    fresh.admin("UPDATE contact.job SET lease_until = now()")
    fresh.admin("UPDATE contact.consumer_cursor SET lease_until = now()")
    town.open.set()
    await process.start()


async def walked(databases: Databases, keys: Keys, folder: Path, *, kill: bool) -> dict[str, Any]:
    """From matrix to hand-over, killed in both jobs or in none; what came of it, without ids that are assigned."""
    folder.mkdir()
    fresh = databases.fresh("contact")
    async with playing(folder) as town, process(fresh, keys, town, folder) as (ours, desk):
        await patiently(desk.stub.ListPlans, proto.ListPlansRequest())
        await desk.set_policy(capacity=25)
        await desk.run_campaign("流量", ("P01",), control_bps=2_000)
        await desk.run_campaign("家庭", ("P02", "P03"), control_bps=2_000)
        await town.publish_customers({key: ("G01", "ABC"[key % 3], "active") for key in PEOPLE})
        await town.consent(list(PEOPLE))
        taken = "SELECT 1 FROM contact.consumer_cursor WHERE consumer = 'events' AND cursor = '180'"
        await until(lambda: asyncio.to_thread(fresh.admin, taken))
        if kill:
            town.open.clear()
        scores = {(key, product): ((key * 7 + len(product)) % 60) / 200 for key in PEOPLE for product in ("P01", "P02")}
        await town.publish_matrix("m1", scores)
        if kill:
            await killed_in_the_middle(ours, fresh, town, "arbitrate")
        plans = "SELECT plan_id FROM contact.plan"
        [(plan_id,)] = await until(lambda: asyncio.to_thread(fresh.admin, plans))
        if kill:
            town.open.clear()
        spec = proto.HandoverSpec(plan_id=plan_id)
        request = proto.CreateJobRequest(handover=spec, request_id="handover")
        job = (await patiently(desk.stub.CreateJob, request)).job
        if kill:
            await killed_in_the_middle(ours, fresh, town, "handover")
            await patiently(desk.stub.ListPlans, proto.ListPlansRequest())
        ended = await desk.end_of(job.job_id)
        assert (ended.state, ended.attempt) == (proto.Job.STATE_SUCCEEDED, 2 if kill else 1)
        plan = await desk.plan(plan_id)
        assert plan.plan_date == PLAN_DAY
        contacts = await desk.contacts(plan_id)
        names = sorted(path.name for path in (folder / "ocrm").iterdir())
        rows = (folder / "ocrm" / plan.handover_files[0].file_name).read_text("gb18030").splitlines()
        assigned = (2, 3)  # campaign_id and offer_id
        plans_told = "SELECT kind FROM contact.outbox WHERE kind LIKE 'plan.%' ORDER BY xid, id"
        return {
            "sha256": plan.sha256,
            "objective": plan.objective_fen,
            "contacts": [(one.contact_id, one.value_fen, one.state, one.attribution_token) for one in contacts],
            "names": names,
            "file": [[part for at, part in enumerate(row.split("|")) if at not in assigned] for row in rows],
            "jobs": fresh.admin("SELECT kind, state FROM contact.job ORDER BY kind"),
            "facts": [row["kind"] for row in fresh.admin(plans_told)],
        }


@pytest.mark.timeout(180)
async def test_killed_in_both_jobs_it_ends_with_the_same_plan_and_the_same_file(
    databases: Databases, keys: Keys, tmp_path: Path
) -> None:
    calm = await walked(databases, keys, tmp_path / "calm", kill=False)
    killed = await walked(databases, keys, tmp_path / "killed", kill=True)
    assert calm == killed
    assert calm["names"] == ["OCRM_CONTACT_20261001_001.CHK", "OCRM_CONTACT_20261001_001.TXT"]
    assert calm["facts"] == ["plan.published", "plan.handed_over"]
    assert {row[1] for row in calm["file"]} <= {number(key) for key in PEOPLE}
    assert len(calm["file"]) > 20


def test_wrong_settings_are_reported_all_at_once(tmp_path: Path) -> None:

    environ = {"PATH": os.environ["PATH"], "DATABASE_CONNECTIONS": "many", "BUSINESS_TIMEZONE": "Mars/X"}
    command = [sys.executable, "-m", "services.contact", "serve"]
    ended = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    for name in (
        "DATABASE_URL",
        "JWT_KEYS",
        "PEER_INGEST",
        "PEER_RECOMMEND",
        "OCRM_OUT",
        "DATABASE_CONNECTIONS",
        "BUSINESS_TIMEZONE",
    ):
        assert name in ended.stderr
    assert "Traceback" not in ended.stderr
