"""Jobs, simulated to death: an independent audit after workers died, froze and were told to cancel at any point."""

import asyncio
import random

import pytest
from sqlalchemy import text

from services.kit import jobs
from services.kit.db import Database
from services.kit.errors import Kind, Refusal
from services.kit.jobs import Handler, Job, Running, State
from tests.fixtures.clock import FakeClock
from tests.fixtures.counts import seeds
from tests.kit.chaos import Mortal, live_and_die
from tests.kit.workshop import cancel, clear, create, effects, ended, get, succeed


@pytest.fixture(autouse=True)
async def empty(db: Database) -> None:
    await clear(db)


STEPS = 4


def life_of(db: Database, process: Mortal, chance: random.Random) -> Handler:
    """A job of four steps, each an effect with its checkpoint; it may stumble, and it may be refused."""

    async def run(running: Running) -> None:
        job = running.job
        for step in range(job.checkpoint.get("step", 0), STEPS):
            await running.progress(step, STEPS)
            if chance.random() < 0.08:
                raise ConnectionError("a peer went away")
            if job.spec["refused"] and step == 2:
                raise Refusal(Kind.FAILED_PRECONDITION, "NO_DATA", "nothing there")
            async with process.begin() as tx:
                effect = {"effect": f"{job.job_id} {step}"}
                await tx.execute(text("INSERT INTO effect (name) VALUES (:effect)"), effect)
                await running.save({"step": step + 1}, tx)
                await tx.commit()
        await succeed(running, process, f"{job.job_id} end")

    return run


def audit(job: Job, found: list[str]) -> None:
    """What must be true of an ended job and of its effects, whatever happened on the way."""
    steps = [f"{job.job_id} {step}" for step in range(STEPS)]
    own = [effect for effect in found if effect.startswith(f"{job.job_id} ")]
    if job.state is State.SUCCEEDED:
        assert own == [*steps, f"{job.job_id} end"]
    else:
        assert own == steps[: len(own)], "the steps done are the first ones, each once, and there is no end"
        assert job.error != "NO_DATA" or job.spec["refused"]
        assert job.error != "INTERNAL" or job.attempt >= jobs.MOST_ATTEMPTS
    assert job.end_time is not None


@pytest.mark.parametrize("seed", seeds(6, 60))
async def test_every_job_ends_once_when_workers_die_freeze_and_people_cancel_at_any_point(
    db: Database, seed: int
) -> None:
    chance = random.Random(seed)
    stop = asyncio.Event()
    names = [f"j{n}" for n in range(10)]
    for name in names:
        await create(db, name, refused=chance.random() < 0.2)

    async def place(name: str) -> int:
        deaths = 0
        while not stop.is_set():
            process = Mortal(db, chance, death=0.01, freeze=0.01, frozen=0.2)
            life = jobs.work(
                process,
                {"train": life_of(db, process, chance)},
                owner=f"{name}{deaths}",
                clock=FakeClock(),
                stop=stop,
                lease_seconds=0.1,
                poll=0.005,
                at_once=2,
                retry_seconds=0.005,
            )
            deaths += await live_and_die(life)
        return deaths

    async def people() -> None:
        for name in chance.sample(names, 3):
            await asyncio.sleep(chance.random() * 0.2)
            await cancel(db, name)

    running = asyncio.gather(place("a"), place("b"), people())
    first = [await ended(db, name, seconds=40) for name in names]
    await asyncio.sleep(0.25)  # whoever was frozen wakes up
    stop.set()
    await running
    assert [await get(db, name) for name in names] == first, "an end is for ever"
    found = await effects(db)
    for job in first:
        audit(job, found)
    assert State.SUCCEEDED in {job.state for job in first}
