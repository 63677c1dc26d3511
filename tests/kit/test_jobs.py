"""Jobs: claimed by one, resumed after a crash, ended once."""

import asyncio

import pytest
from sqlalchemy import text

from services.kit import jobs, telemetry
from services.kit.db import Database
from services.kit.errors import Kind, Refusal
from services.kit.jobs import Running, State
from tests.fixtures.clock import FakeClock
from tests.kit.workshop import NOW, cancel, clear, create, effects, ended, get, succeed, working


@pytest.fixture(autouse=True)
async def empty(db: Database) -> None:
    await clear(db)


async def test_a_job_is_run_and_ends_with_its_effect(db: Database) -> None:
    async def train(running: Running) -> None:
        assert running.job.spec == {"trees": 7}
        await running.progress(1, 2, message="half", rows=10)
        await running.progress(2, 2, skipped=1)
        await succeed(running, db, rows=20)

    queued = await create(db, trees=7)
    assert (queued.state, queued.attempt, queued.create_time) == (State.QUEUED, 0, NOW)
    async with working(db, {"train": train}):
        job = await ended(db)
    assert (job.state, job.done, job.total, job.attempt) == (State.SUCCEEDED, 2, 2, 1)
    assert job.counts == {"rows": 20, "skipped": 1}
    assert job.start_time == job.end_time == NOW
    assert await effects(db) == ["done"]


async def test_a_second_create_with_the_same_key_gives_the_job_that_is_there(db: Database) -> None:
    first, second = await asyncio.gather(create(db, "j1", key="2026-03-01"), create(db, "j2", key="2026-03-01"))
    assert first == second
    assert await create(db, "j3", kind="other", key="2026-03-01") != first


async def test_only_jobs_of_the_kinds_that_have_a_handler_are_claimed(db: Database) -> None:
    await create(db, "j1", kind="other")
    await create(db, "j2")
    async with working(db, {"train": lambda running: succeed(running, db)}):
        await ended(db, "j2")
    assert (await get(db, "j1")).state is State.QUEUED


async def test_jobs_are_listed_page_by_page_the_newest_first(db: Database) -> None:
    clock = FakeClock()
    for n in range(5):
        async with db.begin() as tx:
            kind = "train" if n % 2 == 0 else "other"
            await jobs.create(tx, job_id=f"j{n}", kind=kind, key=str(n), spec={}, now=clock.advance(minutes=1))
            await tx.commit()
    async with db.read() as read:
        assert [job.job_id for job in await jobs.page(read, size=2)] == ["j4", "j3"]
        assert [job.job_id for job in await jobs.page(read, after="j3", size=2)] == ["j2", "j1"]
        assert [job.job_id for job in await jobs.page(read, kind="train", size=9)] == ["j4", "j2", "j0"]
        with pytest.raises(Refusal, match="no job has the id nobody"):
            await jobs.page(read, after="nobody", size=1)


async def test_a_refusal_fails_the_job_with_its_reason_and_at_once(db: Database) -> None:
    async def refuse(running: Running) -> None:
        raise Refusal(Kind.FAILED_PRECONDITION, "NO_DATA", "there is nothing to train on")

    await create(db)
    async with working(db, {"train": refuse}):
        job = await ended(db)
    assert (job.state, job.error, job.attempt) == (State.FAILED, "NO_DATA", 1)
    assert job.message == "there is nothing to train on"


async def test_a_fault_is_tried_again_and_given_up_after_the_last_attempt(db: Database) -> None:
    async def fail(running: Running) -> None:
        raise KeyError("the secret")

    await create(db)
    async with working(db, {"train": fail}):
        job = await ended(db)
    assert (job.state, job.error, job.attempt) == (State.FAILED, "INTERNAL", jobs.MOST_ATTEMPTS)
    assert "incident" in job.message
    assert "secret" not in job.message


async def test_what_an_attempt_saved_the_next_one_finds_and_what_gets_on_is_not_given_up(db: Database) -> None:
    stumbles = jobs.MOST_ATTEMPTS + 2

    async def stumble(running: Running) -> None:
        position = running.job.checkpoint.get("position", 0)
        async with db.begin() as tx:
            await tx.execute(text("INSERT INTO effect (name) VALUES (:name)"), {"name": f"step {position}"})
            await running.save({"position": position + 1}, tx)
            await tx.commit()
        if position < stumbles:
            raise ZeroDivisionError
        await running.save({"position": "the end"})
        await succeed(running, db)

    await create(db)
    async with working(db, {"train": stumble}):
        job = await ended(db)
    assert await effects(db) == [*(f"step {number}" for number in range(stumbles + 1)), "done"]
    assert (job.attempt, job.checkpoint) == (1, {"position": "the end"})


async def test_a_job_that_always_gets_on_and_always_fails_is_given_up_at_last(db: Database) -> None:
    async def stumble(running: Running) -> None:
        await running.save({"position": running.job.checkpoint.get("position", 0) + 1})
        raise ZeroDivisionError

    await create(db)
    async with db.begin() as tx:
        await tx.execute(text("UPDATE job SET epoch = :claims"), {"claims": jobs.MOST_CLAIMS - 3})
        await tx.commit()
    async with working(db, {"train": stumble}):
        job = await ended(db)
    assert (job.state, job.error, job.attempt) == (State.FAILED, "INTERNAL", 1)
    assert job.checkpoint == {"position": 3}
    assert f"{jobs.MOST_CLAIMS} claims" in job.message


async def test_a_job_whose_workers_die_after_each_checkpoint_is_given_up_at_last(db: Database) -> None:
    await create(db)
    async with db.begin() as tx:
        dead = "UPDATE job SET state = 'RUNNING', attempt = 1, epoch = :claims, lease_until = now() - interval '1 s'"
        await tx.execute(text(dead), {"claims": jobs.MOST_CLAIMS})
        await tx.commit()
    async with working(db, {"train": lambda running: succeed(running, db)}):
        job = await ended(db)
    assert (job.state, job.message) == (State.FAILED, f"{jobs.MOST_CLAIMS} claims ended without a word")
    assert await effects(db) == []


async def test_a_handler_that_does_not_say_how_it_ended_has_failed(db: Database) -> None:
    async def forget(running: Running) -> None:
        await running.progress(1, 1)

    await create(db)
    async with working(db, {"train": forget}):
        assert (await ended(db)).state is State.FAILED


async def test_a_queued_job_is_cancelled_at_once(db: Database) -> None:
    await create(db)
    job = await cancel(db)
    assert (job.state, job.end_time) == (State.CANCELLED, NOW)
    async with working(db, {"train": lambda running: succeed(running, db)}):
        await asyncio.sleep(0.1)
    assert await effects(db) == []


async def test_a_running_job_stops_where_it_next_shows_progress(db: Database) -> None:
    begun = asyncio.Event()

    async def long(running: Running) -> None:
        for n in range(10_000):
            begun.set()
            await running.progress(n, 10_000)
            await asyncio.sleep(0.001)

    await create(db)
    async with working(db, {"train": long}):
        await begun.wait()
        assert (await cancel(db)).state is State.RUNNING
        job = await ended(db)
    assert job.state is State.CANCELLED
    assert 0 <= job.done < 10_000


async def test_a_job_that_has_ended_stays_as_it_is(db: Database) -> None:
    await create(db)
    async with working(db, {"train": lambda running: succeed(running, db)}):
        before = await ended(db)
        assert await cancel(db) == before
        assert await get(db) == before


async def test_a_stopping_worker_gives_its_job_back_and_the_attempt_does_not_count(db: Database) -> None:
    begun = asyncio.Event()

    async def long(running: Running) -> None:
        await running.save({"position": 5})
        begun.set()
        await asyncio.sleep(60)

    await create(db)
    async with working(db, {"train": long}, lease=60):
        await begun.wait()
    assert (await get(db)).state is State.QUEUED
    async with working(db, {"train": lambda running: succeed(running, db)}, owner="next"):
        job = await ended(db)
    assert (job.attempt, job.checkpoint) == (1, {"position": 5})


async def test_a_job_whose_worker_was_killed_is_resumed_when_its_lease_has_run_out(db: Database) -> None:
    begun = asyncio.Event()

    async def hang(running: Running) -> None:
        begun.set()
        await asyncio.sleep(60)

    await create(db)
    stop = asyncio.Event()
    killed = asyncio.create_task(
        jobs.work(db, {"train": hang}, owner="w1", clock=FakeClock(), stop=stop, lease_seconds=0.5, poll=0.01)
    )
    await begun.wait()
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    assert (await get(db)).state is State.RUNNING
    async with working(db, {"train": lambda running: succeed(running, db)}, owner="w2"):
        job = await ended(db)
    assert (job.state, job.attempt) == (State.SUCCEEDED, 2)


async def test_a_job_under_which_every_worker_dies_is_given_up(db: Database) -> None:
    await create(db)
    async with db.begin() as tx:
        dead = "UPDATE job SET state = 'RUNNING', attempt = 5, lease_until = now() - interval '1 second'"
        await tx.execute(text(dead))
        await tx.commit()
    async with working(db, {"train": lambda running: succeed(running, db)}):
        job = await ended(db)
    assert (job.state, job.error) == (State.FAILED, "INTERNAL")
    assert await effects(db) == []


async def test_who_lost_the_lease_can_write_nothing_more_for_the_job(db: Database) -> None:
    """A handler that blocked the loop for longer than its lease wakes up after another has taken the job over."""
    held, go_on = asyncio.Event(), asyncio.Event()
    outcome: list[BaseException] = []

    async def slow(running: Running) -> None:
        if running.job.attempt > 1:
            await succeed(running, db, "second")
            return
        held.set()
        await go_on.wait()
        for write in (running.progress(1, 2), running.save({"a": 1}), succeed(running, db, "first")):
            try:
                await write
            except jobs.Lost as lost:
                outcome.append(lost)

    await create(db)
    async with working(db, {"train": slow}, owner="one", lease=60):
        await held.wait()
        async with db.begin() as tx:
            await tx.execute(text("UPDATE job SET lease_until = '-infinity'"))
            await tx.commit()
        async with working(db, {"train": slow}, owner="two"):
            await ended(db)
        go_on.set()
        await asyncio.sleep(0.2)
    assert len(outcome) == 3
    assert await effects(db) == ["second"]


async def test_a_long_job_keeps_its_lease(db: Database) -> None:
    async def long(running: Running) -> None:
        await asyncio.sleep(1.5)
        await succeed(running, db)

    await create(db)
    async with (
        working(db, {"train": long}, owner="one", lease=1),
        working(db, {"train": long}, owner="two", lease=1),
    ):
        job = await ended(db)
    assert (job.attempt, await effects(db)) == (1, ["done"])


async def test_as_many_jobs_as_allowed_run_together_and_no_more(db: Database) -> None:
    now = most = 0
    together = asyncio.Event()

    async def count(running: Running) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 3:
            together.set()
        async with asyncio.timeout(30):
            await together.wait()
        now -= 1
        await succeed(running, db)

    for n in range(7):
        await create(db, f"j{n}")
    async with working(db, {"train": count}, at_once=3):
        for n in range(7):
            await ended(db, f"j{n}")
    assert most == 3


async def test_a_run_is_a_span_of_the_trace_that_created_the_job(db: Database) -> None:
    seen: list[str] = []

    async def look(running: Running) -> None:
        seen.append(telemetry.traceparent())
        await succeed(running, db)

    with telemetry.span("asking", parent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
        await create(db)
    async with working(db, {"train": look}):
        await ended(db)
    assert [trace[3:35] for trace in seen] == ["0af7651916cd43dd8448eb211c80319c"]
