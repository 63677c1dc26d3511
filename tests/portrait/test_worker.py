"""From deliveries to a published run, in the process that does it; also when it is killed on the way."""

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import text

from services.kit.config import ConfigProblems
from services.kit.db import Database
from services.portrait import app
from services.portrait.api import encoder
from services.portrait.domain.calendar import WorkCalendar
from services.portrait.domain.run import LakeFile
from services.portrait.domain.tag import Catalogue
from services.portrait.lake import Lake, ResultReader, read_base
from services.portrait.store import Runs
from services.portrait.usecases.bucket import Work, compute
from tests.fixtures.postgres import Databases, Fresh
from tests.fixtures.serving import Keys
from tests.portrait.conftest import BUCKETS, DAYS, Town
from tests.portrait.peer import serving_ingest

FEEDS = ("customers", "cells", "places", "cell_places", "city_events", "orders", "consent", "bills", "signalling")
ROWS = """
    SELECT customer_key, org_id, md5(body) FROM portrait JOIN current_run USING (run_no) ORDER BY customer_key
"""


@pytest.fixture
def fresh(databases: Databases) -> Fresh:
    return databases.fresh("portrait")


@pytest.fixture
async def here(fresh: Fresh) -> AsyncIterator[Database]:
    opened = await Database.open(fresh.url, schema="portrait", application="tests")
    yield opened
    await opened.close()


class Process:
    """`python -m services.portrait work`, as an operator's machine runs it."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._environ = environ
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.portrait", "work", env={**os.environ, **self._environ}
        )

    async def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await asyncio.wait_for(self._process.wait(), 20)


@pytest.fixture
def process(fresh: Fresh, keys: Keys, tmp_path: Path) -> Callable[[str], Process]:
    token = tmp_path / "token"
    token.write_text(keys.token({"service"}))

    def make(target: str) -> Process:
        return Process(
            {
                **fresh.environ,
                "JWT_KEYS": str(keys.path),
                "SERVICE_TOKEN_FILE": str(token),
                "LISTEN": "127.0.0.1:0",
                "PEER_INGEST": target,
                "LAKE_URL": f"file://{tmp_path / 'lake'}",
                "LAKE_BUCKETS": str(BUCKETS),
                "WINDOW_DAYS": str(DAYS),
                "COMPUTE_THREADS": "1",
                "LOG_LEVEL": "WARNING",
                "DRAIN_SECONDS": "0",
            }
        )

    return make


async def until(ask: Callable[[], Coroutine[Any, Any, Any]], seconds: float = 60) -> Any:
    async with asyncio.timeout(seconds):
        while not (found := await ask()):
            await asyncio.sleep(0.01)
    return found


async def published(db: Database, runs: int) -> list[Any]:
    async def ask() -> list[Any]:
        async with db.read() as read:
            found = await read.rows(text("SELECT run_id, sha256, customers, signalling_rows FROM run ORDER BY run_no"))
        return [tuple(row) for row in found] if len(found) >= runs else []

    found: list[Any] = await until(ask)
    return found


async def rows(db: Database) -> list[tuple[Any, ...]]:
    async with db.read() as read:
        return [tuple(row) for row in await read.rows(text(ROWS))]


async def test_killed_in_mid_job_it_ends_with_the_same_run(
    town: Town,
    catalogue: Catalogue,
    calendar: WorkCalendar,
    process: Callable[[str], Process],
    here: Database,
    tmp_path: Path,
) -> None:
    async with serving_ingest() as (peer, target), contextlib.AsyncExitStack() as closing:
        await peer.load(town.manifest, FEEDS)
        worker = process(target)
        closing.push_async_callback(worker.stop)
        await worker.start()

        async def halfway() -> bool:
            async with here.read() as read:
                return bool(
                    await read.value(
                        text("SELECT checkpoint ? 'buckets' AND state = 'RUNNING' FROM job WHERE kind = 'compute'")
                    )
                )

        await until(halfway)
        await worker.kill()
        async with here.begin() as tx:
            assert await tx.value(text("SELECT count(*) FROM run")) == 0, "it was killed before the end"
            kept = await tx.value(text("SELECT checkpoint FROM job WHERE kind = 'compute'"))
            await tx.execute(text("UPDATE job SET lease_until = now()"))  # as if the lease had run out already
            await tx.commit()
        finished = {name: os.stat(part[0].removeprefix("file://")).st_mtime_ns for name, part in _files(kept)}
        await worker.start()
        (killed,) = await published(here, 1)
        for name, part in _files(kept):
            assert os.stat(part[0].removeprefix("file://")).st_mtime_ns == finished[name], "not computed again"
        async with here.read() as read:
            assert await read.value(text("SELECT count(*) FROM outbox WHERE kind = 'run.published'")) == 1
        assert not list((tmp_path / "lake").rglob("*.part"))
        assert (killed, await rows(here)) == undisturbed(town, catalogue, calendar, killed[0], tmp_path / "calm")


def undisturbed(
    town: Town, catalogue: Catalogue, calendar: WorkCalendar, run_id: str, lake: Path
) -> tuple[tuple[Any, ...], list[tuple[Any, ...]]]:
    """The run and its rows, computed in this process in one go."""
    base = read_base(town.manifest, town.window, catalogue, calendar)
    work = Work(run_id, base, town.window, calendar, catalogue, BUCKETS)
    outcomes = [
        compute(work, bucket, [f for f in town.manifest["signalling"] if f.bucket == bucket], Lake(lake.as_uri()))
        for bucket in range(BUCKETS)
    ]
    portraits = [each for outcome in outcomes for each in ResultReader().portraits(run_id, outcome.files)]
    bodies = [
        (each.customer_key, each.org_id, hashlib.md5(encoder(catalogue)(each, ()).body).hexdigest())
        for each in portraits
    ]
    digest = reduce(add, (each.checksum for each in outcomes)).sha256()
    return (run_id, digest, len(bodies), sum(each.signalling_rows for each in outcomes)), sorted(bodies)


def _files(checkpoint: dict[str, Any]) -> list[tuple[str, list[Any]]]:
    return [
        (f"{bucket} {name}", part)
        for bucket, outcome in checkpoint["buckets"].items()
        for name, part in outcome["files"].items()
    ]


async def test_a_corrected_delivery_makes_a_new_run_and_a_repeated_one_none(
    town: Town,
    details: Mapping[str, list[LakeFile]],
    process: Callable[[str], Process],
    here: Database,
    tmp_path: Path,
) -> None:
    async with serving_ingest() as (peer, target), contextlib.AsyncExitStack() as closing:
        worker = process(target)
        closing.push_async_callback(worker.stop)
        await worker.start()
        await peer.load(details, list(details))
        await peer.load(town.manifest, FEEDS[:-1])
        await peer.load({"signalling": town.manifest["signalling"]}, ["signalling"])
        (first,) = await published(here, 1)
        await peer.load(town.manifest, ["bills", "signalling"])  # told again: at least once is what a stream promises
        corrected = _shorter(town.manifest["signalling"], tmp_path)
        await peer.load({"signalling": corrected}, ["signalling"])
        _, second = await published(here, 2)
        assert second[3] < first[3]
        assert second[1] != first[1]
        async with here.read() as read:
            current = await read.value(text("SELECT run_id FROM run JOIN current_run USING (run_no)"))
            jobs = [
                tuple(row)
                for row in await read.rows(text("SELECT state, count(*) FROM job WHERE kind = 'compute' GROUP BY 1"))
            ]
            counts = text(
                "SELECT (counts ->> 'days_followed')::int AS days FROM job WHERE kind = 'compute' ORDER BY create_time"
            )
            followed = [row.days for row in await read.rows(counts)]
        assert current == second[0]
        assert jobs == [("SUCCEEDED", 2)]
        assert followed == [DAYS * BUCKETS, 1], "only the day and bucket that were corrected"
        content, columns = await until(lambda: widened(here, second[0]))
        assert content > 100, "tags of Internet content come from the web logs"
        assert columns > 700


async def widened(db: Database, run_id: str) -> tuple[int, int] | None:
    """(bearers of IC01, columns of the wide table) of a run, once its wide table is built."""
    async with db.read() as read:
        run_no = await read.value(text("SELECT run_no FROM run WHERE run_id = :id"), {"id": run_id})
        files = await Runs().files(read, run_no, "wide")
        borne = text("SELECT customers FROM tag_count WHERE run_no = :run AND tag = 'IC01'")
        content = await read.value(borne, {"run": run_no})
    if not files:
        return None
    return int(content), min(pl.read_parquet(file.uri.removeprefix("file://")).width for file in files)


def _shorter(files: list[LakeFile], folder: Path) -> list[LakeFile]:
    """The last day's delivery again under another id, with one bucket's file emptied to half of its rows."""
    last = [file for file in files if file.period == max(each.period for each in files)]
    path = folder / "corrected.parquet"
    frame = pl.read_parquet(last[0].uri.removeprefix("file://"))
    half = frame.head(frame.height // 2)
    half.write_parquet(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    mended = [replace(last[0], uri=path.as_uri(), rows=half.height, sha256=digest)]
    return [replace(file, delivery_id=f"{file.delivery_id}b") for file in [*mended, *last[1:]]]


async def test_wrong_settings_are_all_told_at_once(fresh: Fresh, keys: Keys, tmp_path: Path) -> None:
    broken = tmp_path / "tags.yaml"
    shipped = Path("services/portrait/catalogue/tags.yaml").read_text(encoding="utf-8")
    broken.write_text(shipped.replace("days_ge: 10}", "days_goe: 10}", 1), encoding="utf-8")
    environ = {
        "DATABASE_URL": fresh.url,
        "JWT_KEYS": str(keys.path),
        "PEER_INGEST": "127.0.0.1:1",
        "LAKE_URL": "file:///nowhere",
    }
    with pytest.raises(ConfigProblems) as settings:
        await app.run({**environ, "BUSINESS_TIMEZONE": "Mars/X", "LAKE_BUCKETS": "0"}, False, True)
    assert [problem.split()[0].rstrip(":") for problem in settings.value.problems] == [
        "SERVICE_TOKEN_FILE", "LAKE_BUCKETS", "BUSINESS_TIMEZONE"
    ]  # fmt: skip
    environ["SERVICE_TOKEN_FILE"] = str(keys.path)
    with pytest.raises(ConfigProblems) as settings:
        await app.run({**environ, "WINDOW_DAYS": "99", "LAKE_URL": "nowhere"}, False, True)
    assert settings.value.problems == [
        "WINDOW_DAYS must be 1 to 62",
        "LAKE_URL: 'nowhere' is not a URL like file:///…",
    ]
    with pytest.raises(ConfigProblems, match="days_goe: no such key of a dwell rule"):
        await app.run({**environ, "CATALOGUE_PATH": str(broken)}, False, True)
