"""Jobs as the tests make, run and look at them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from sqlalchemy import text

from services.kit import jobs
from services.kit.db import Database
from services.kit.jobs import Handler, Job, Running, State
from tests.fixtures.clock import FakeClock

NOW = FakeClock()()
ENDED = (State.SUCCEEDED, State.FAILED, State.CANCELLED)


async def create(db: Database, job_id: str = "j1", kind: str = "train", key: str = "", **spec: object) -> Job:
    async with db.begin() as tx:
        job = await jobs.create(tx, job_id=job_id, kind=kind, key=key or job_id, spec=spec, now=NOW)
        await tx.commit()
    return job


async def get(db: Database, job_id: str = "j1") -> Job:
    async with db.read() as read:
        return await jobs.get(read, job_id)


async def cancel(db: Database, job_id: str = "j1") -> Job:
    async with db.begin() as tx:
        job = await jobs.cancel(tx, job_id, NOW)
        await tx.commit()
    return job


async def effects(db: Database) -> list[str]:
    async with db.read() as read:
        return [row.name for row in await read.rows(text("SELECT name FROM effect ORDER BY seq"))]


async def succeed(running: Running, db: Database, effect: str = "done", rows: int = 0) -> None:
    async with db.begin() as tx:
        await tx.execute(text("INSERT INTO effect (name) VALUES (:effect)"), {"effect": effect})
        await running.succeed(tx, rows=rows)
        await tx.commit()


@asynccontextmanager
async def working(
    db: Database, handlers: Mapping[str, Handler], *, owner: str = "w", lease: float = 15, at_once: int = 1
) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.create_task(
        jobs.work(
            db,
            handlers,
            owner=owner,
            clock=FakeClock(),
            stop=stop,
            lease_seconds=lease,
            poll=0.01,
            at_once=at_once,
            retry_seconds=0.01,
        )
    )
    try:
        yield stop
    finally:
        stop.set()
        await task


async def ended(db: Database, job_id: str = "j1", seconds: float = 40) -> Job:
    async with asyncio.timeout(seconds):
        while (job := await get(db, job_id)).state not in ENDED:
            await asyncio.sleep(0.01)
    return job


async def clear(db: Database) -> None:
    async with db.begin() as tx:
        await tx.execute(text("DELETE FROM effect"))
        await tx.execute(text("DELETE FROM job"))
        await tx.commit()
