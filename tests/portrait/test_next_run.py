"""A tag that was published by RPC is computed by the next run's job; a run with a tag outside of its band is held."""

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import text

from services.kit import jobs
from services.kit.db import Database
from services.kit.idempotency import RequestKey
from services.portrait.api import encoder
from services.portrait.domain.calendar import WorkCalendar
from services.portrait.domain.detail import parse_details
from services.portrait.domain.readiness import Inputs, parse_rule
from services.portrait.domain.run import LakeFile
from services.portrait.lake import Lake
from services.portrait.store import Audiences, City, Runs
from services.portrait.usecases.compute import KIND, Computing, Settings
from tests.portrait.conftest import BUCKETS, DAYS, HERE, Town
from tests.portrait.desks import desks, shelf
from tests.portrait.test_curation import empty

NOW = datetime(2026, 9, 15, tzinfo=UTC)
RARE = """
{code: XX01, zh: 园区客, family: 需求偏好圈, kind: flag, expect: [0.95, 1.0],
 rule: {dwell: {place: ["lei.*"], except: [home, work], min_visit: 20, days_ge: 2}}}
"""


def asked(method: str, number: int = 0) -> RequestKey:
    return RequestKey("ann", method, f"{method}{number}", b"x")


def rule(name: str) -> Any:
    return yaml.safe_load((HERE / name).read_text(encoding="utf-8"))


@pytest.fixture
async def clean(db: Database) -> Any:
    await empty(db)
    yield db
    async with db.begin() as tx:
        for table in ("kept_day", "catalogue_document", "job"):
            await tx.execute(text(f"DELETE FROM {table}"))
        await tx.commit()
    await empty(db)


async def done(db: Database, computing: Computing, spec: dict[str, Any]) -> jobs.Job:
    """The job of a spec, worked through."""
    job_id = f"job {spec['run_id']}"
    async with db.begin() as tx:
        job = await jobs.create(tx, job_id=job_id, kind=KIND, key=spec["run_id"], spec=spec, now=NOW)
        await tx.commit()
    stop = asyncio.Event()
    working = asyncio.create_task(
        jobs.work(db, {KIND: computing.compute}, owner="w", clock=lambda: NOW, stop=stop, poll=0.02)
    )
    async with asyncio.timeout(120):
        while job.state in (jobs.State.QUEUED, jobs.State.RUNNING):
            await asyncio.sleep(0.05)
            async with db.read() as read:
                job = await jobs.get(read, job_id)
    stop.set()
    await working
    return job


async def test_a_published_tag_is_computed_without_a_deployment_and_holds_the_run_when_its_coverage_is_wrong(
    clean: Database, town: Town, calendar: WorkCalendar, tmp_path: Path
) -> None:
    """R001-066, R001-107: data alone make the tag. Outside of its band the run is held until somebody releases it."""
    tags, _ = desks(clean, lambda: NOW)
    await tags.create(RARE, "ann", "who rests there has leisure", asked("Create"))
    for number, aspect in enumerate(("MINING", "BUSINESS")):
        await tags.approve("XX01", 1, aspect, "bob", "seen", asked("Approve", number))
    await tags.publish("XX01", 1, asked("Publish"))

    async def snapshot(feed: str, _: Inputs) -> list[LakeFile]:
        return list(town.manifest[feed])

    known, lake = shelf(clean, lambda: NOW), Lake(tmp_path.as_uri())
    readiness, details = parse_rule(rule("readiness.yaml"), DAYS), parse_details(rule("catalogue/details.yaml"))
    settings = Settings(readiness, calendar, town.window.zone, BUCKETS, 1, details, hold_from=1)
    stores = Audiences(), City(), known, settings, lambda: NOW
    computing = Computing(clean, Runs(), lake, snapshot, encoder, *stores)
    deliveries = {feed: tuple(dict.fromkeys(file.delivery_id for file in files))
                  for feed, files in town.manifest.items()}  # fmt: skip
    inputs = Inputs(town.window.from_date, town.window.to_date, deliveries)
    async with clean.begin() as tx:
        digest = await known.planned(tx)
        await tx.commit()
    job = await done(clean, computing, {**inputs.to_spec(), "run_id": inputs.key(digest), "catalogue": digest})
    assert (job.state, job.message) == (jobs.State.SUCCEEDED, "held")
    async with clean.read() as read:
        assert await Runs().current(read) is None, "readers keep what they had"
        assert await read.value(text("SELECT count(*) FROM outbox WHERE kind = 'run.published'")) == 0
        borne = await read.value(text("SELECT customers FROM tag_count WHERE tag = 'XX01'"))
    ((_, run),) = await tags.runs(None, 10)
    (told,) = (line for line in run.held if line.startswith("XX01"))
    assert 0 < borne < run.customers
    assert told == f"XX01 {borne / run.customers:.4f} not in 0.95..1"
    assert not (await tags.release(run.run_id, asked("Release"))).held
    async with clean.read() as read:
        current = await Runs().current(read)
        assert await read.value(text("SELECT count(*) FROM outbox WHERE kind = 'run.published'")) == 1
    assert current is not None
    assert current[1].run_id == run.run_id
    computing = Computing(clean, Runs(), lake, snapshot, encoder, *stores[:-2], replace(settings, hold_from=10_000),
                          stores[-1])  # fmt: skip
    await a_week_computed_late(clean, computing, Inputs(inputs.from_date, date(2026, 9, 7), deliveries), digest)


async def a_week_computed_late(db: Database, computing: Computing, inputs: Inputs, digest: str) -> None:
    """It is told of in the history of tags, and takes no reader back in time."""
    spec = {**inputs.to_spec(), "run_id": inputs.key(digest), "catalogue": digest}
    async with db.read() as read:
        before = await Runs().current(read)
    job = await done(db, computing, spec)
    assert (job.state, job.message) == (jobs.State.SUCCEEDED, "earlier")
    async with db.read() as read:
        assert await Runs().current(read) == before
        assert await read.value(text("SELECT count(*) FROM outbox WHERE kind = 'run.published'")) == 1
    told, _ = await desks(db, lambda: NOW)[0].history(6, "complaint 3", "ann", date(2026, 9, 10))
    assert {each.run_id for each, _ in told} == {spec["run_id"]}
