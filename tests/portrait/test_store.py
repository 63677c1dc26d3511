"""What Postgres keeps: runs become visible at once, the hot read survives, old rows go."""

import asyncio
from datetime import UTC, date, datetime

import asyncpg
import pytest
from pyroaring import BitMap
from sqlalchemy import text

from services.kit.db import Database
from services.portrait.domain.pack import Encoded
from services.portrait.domain.readiness import Delivery, ReadinessRule
from services.portrait.domain.run import TABLES, LakeFile, Run
from services.portrait.store import Audiences, HotPortraits, Planning, Runs
from services.portrait.store.planning import Planned
from services.portrait.store.runs import Published
from services.portrait.usecases.planning import Plans

NOW = datetime(2026, 11, 22, tzinfo=UTC)
TAGS = {"A": [1, 2, 3], "B": [2, 3, 4], "B=x": [2, 3], "C": [3]}


@pytest.fixture
async def clean(db: Database) -> Database:
    async with db.begin() as tx:
        for table in (
            "portrait",
            "tag_bitmap",
            "tag_count",
            "run_file",
            "current_run",
            "run",
            "delivery",
            "planned",
            "dwell_audit",
            "job",
        ):
            await tx.execute(text(f"DELETE FROM {table}"))
        await tx.commit()
    return db


def stored(told: str) -> Encoded:
    return Encoded(told.encode(), b"", b"m")


def a_run(run_id: str) -> Published:
    run = Run(run_id, date(2026, 9, 1), date(2026, 9, 30), 5, 100, 10, "ab" * 32, catalogue_version="v")
    return Published(run, "job", "v", "d", {"arpu_3m_avg p90": 12.5})


async def publish(db: Database, run_id: str, *, commit: bool = True) -> int:
    runs = Runs()
    async with db.begin() as tx:
        run_no = await runs.put(tx, a_run(run_id), NOW)
        assert run_no is not None
        file = LakeFile("file:///x", 5, "cd" * 32, 0)
        await runs.put_files(tx, run_no, {kind: [file] for kind in TABLES})
        await runs.copy_portraits(tx, run_no, [(key, "G1", stored(f"{run_id} {key}")) for key in range(1, 6)])
        bearers = {(tag.partition("=")[0], tag.partition("=")[2]): BitMap(keys) for tag, keys in TAGS.items()}
        await Audiences().put_bitmaps(tx, run_no, bearers)
        await runs.put_counts(tx, run_no, {tag: len(keys) for tag, keys in TAGS.items()})
        await runs.make_current(tx, run_no)
        if commit:
            await tx.commit()
    return run_no


async def test_what_was_not_committed_is_not_seen(clean: Database) -> None:
    await publish(clean, "one")
    await publish(clean, "two", commit=False)
    async with clean.read() as read:
        current = await Runs().current(read)
        assert current is not None
        assert current[1] == a_run("one").run
        assert await Runs().by_id(read, "two") is None


async def test_a_run_is_published_once(clean: Database) -> None:
    await publish(clean, "one")
    async with clean.begin() as tx:
        assert await Runs().put(tx, a_run("one"), NOW) is None


async def test_a_reader_sees_the_old_run_until_the_new_one_is_whole(clean: Database) -> None:
    await publish(clean, "one")
    stop, hot = asyncio.Event(), HotPortraits(clean.dedicated)
    reading = asyncio.create_task(hot.run(stop))
    runs = Runs()
    async with clean.begin() as tx:
        run_no = await runs.put(tx, a_run("two"), NOW)
        assert run_no is not None
        await runs.copy_portraits(tx, run_no, [(1, "G1", stored("two 1"))])
        await runs.make_current(tx, run_no)
        assert await hot.get([1, 2]) == {1: stored("one 1"), 2: stored("one 2")}
        await tx.commit()
    assert await hot.get([1, 2]) == {1: stored("two 1")}
    stop.set()
    await reading


async def test_bitmaps_come_back_whole_and_old_ones_go(clean: Database) -> None:
    numbers = [await publish(clean, name) for name in ("one", "two", "three", "four")]
    wide = BitMap([1, 2**22, 2**22 + 5, 2**24 + 1, 2**32 - 1])
    async with clean.begin() as tx:
        await Audiences().put_bitmaps(tx, numbers[-1], {("W", ""): wide})
        await Audiences().drop_bitmaps_of_old(tx, 2)
        await tx.commit()
    async with clean.read() as read:
        found = await Audiences().bitmaps(read, numbers[-1])
        assert (set(found["W", ""]), set(found["B", "x"])) == (set(wide), {2, 3})
        assert await Audiences().bitmaps(read, numbers[0]) == {}
        assert await Audiences().bitmaps(read, numbers[2])
        assert await Runs().tag_counts(read, numbers[0]) == {tag: len(keys) for tag, keys in TAGS.items()}


async def test_rows_of_old_runs_go_in_small_steps_and_those_in_use_stay(clean: Database) -> None:
    numbers = [await publish(clean, name) for name in ("one", "two", "three")]
    steps = 0
    gone = 1
    while gone:
        async with clean.begin() as tx:
            gone = await Runs().drop_rows_of_old(tx, 2, 2)
            await tx.commit()
        steps += 1
    assert steps > 2
    async with clean.read() as read:
        kept = await read.rows(text("SELECT DISTINCT run_no FROM portrait ORDER BY 1"))
        assert [row.run_no for row in kept] == numbers[1:]
        assert await Runs().by_id(read, "one") is not None


async def test_the_newer_delivery_takes_the_place_of_the_older(clean: Database) -> None:
    planning = Planning()
    async with clean.begin() as tx:
        await planning.put_delivery(tx, Delivery("bills", date(2026, 8, 1), 1, "old", 10))
        await planning.put_delivery(tx, Delivery("bills", date(2026, 8, 1), 2, "other", 10))
        await planning.put_delivery(tx, Delivery("bills", date(2026, 8, 1), 1, "new", 12))
        await planning.put_planned(tx, Planned(date(2026, 8, 1), date(2026, 8, 30), "k1", "j1"))
        await planning.put_planned(tx, Planned(date(2026, 8, 1), date(2026, 8, 30), "k2", "j2"))
        await tx.commit()
    async with clean.read() as read:
        found = {(each.sequence, each.delivery_id, each.loaded_rows) for each in await planning.deliveries(read)}
        assert found == {(1, "new", 12), (2, "other", 10)}
        assert await planning.open(read) == [Planned(date(2026, 8, 1), date(2026, 8, 30), "k2", "j2")]


async def test_a_window_that_waits_is_planned_anew_though_a_later_one_is_planned_already(clean: Database) -> None:
    rule = ReadinessRule("signalling", {"bills": 1}, "window", 1)
    plans = Plans(clean, Planning(), rule, "catalogue", lambda: NOW, (f"j{number}" for number in range(9)).__next__)

    async def learn(*deliveries: Delivery) -> list[tuple[str, str, list[str]]]:
        async with clean.begin() as tx:
            for each in deliveries:
                await plans.learn(tx, each)
            await tx.commit()
        query = "SELECT state, spec->>'to_date' AS day, spec->'deliveries'->'bills' AS bills FROM job ORDER BY job_id"
        async with clean.read() as read:
            return [(row.state, row.day, row.bills) for row in await read.rows(text(query))]

    first = Delivery("signalling", date(2026, 9, 1), 1, "s1")
    bills = Delivery("bills", date(2026, 8, 1), 1, "b1")
    assert await learn(bills, first, Delivery("signalling", date(2026, 9, 2), 1, "s2")) == [
        ("QUEUED", "2026-09-01", ["b1"]),
        ("QUEUED", "2026-09-02", ["b1"]),
    ]
    assert await learn(Delivery("bills", date(2026, 8, 1), 1, "b2")) == [
        ("CANCELLED", "2026-09-01", ["b1"]),
        ("CANCELLED", "2026-09-02", ["b1"]),
        ("QUEUED", "2026-09-01", ["b2"]),
        ("QUEUED", "2026-09-02", ["b2"]),
    ]


async def test_many_callers_share_a_round_trip(clean: Database) -> None:
    await publish(clean, "one")
    statements = 0

    async def connect() -> "asyncpg.Connection[asyncpg.Record]":
        connection = await clean.dedicated()

        def count(_: object) -> None:
            nonlocal statements
            statements += 1

        connection.add_query_logger(count)
        return connection

    stop, hot = asyncio.Event(), HotPortraits(connect, connections=1)
    reading = asyncio.create_task(hot.run(stop))
    answers = await asyncio.gather(*(hot.get([1 + number % 6]) for number in range(300)))
    for number, answer in enumerate(answers):
        key = 1 + number % 6
        assert answer == ({key: stored(f"one {key}")} if key < 6 else {})
    assert statements <= 3
    stop.set()
    await reading


async def test_the_hot_read_outlives_its_connections(clean: Database, database: object) -> None:
    await publish(clean, "one")
    stop, hot = asyncio.Event(), HotPortraits(clean.dedicated)
    reading = asyncio.create_task(hot.run(stop))
    assert await hot.get([1]) == {1: stored("one 1")}
    for _ in range(3):
        database.admin(  # type: ignore[attr-defined]
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'lc_portrait'"
        )
        answers = await asyncio.gather(*(hot.get([key]) for key in (1, 2, 3)))
        assert answers == [{key: stored(f"one {key}")} for key in (1, 2, 3)]
    stop.set()
    await reading


async def test_who_waits_too_long_is_told_why(clean: Database) -> None:
    async def gone() -> "asyncpg.Connection[asyncpg.Record]":
        raise ConnectionRefusedError("nobody listens")

    stop, hot = asyncio.Event(), HotPortraits(gone, patience_seconds=0.2)
    reading = asyncio.create_task(hot.run(stop))
    with pytest.raises(ConnectionRefusedError):
        await hot.get([1])
    stop.set()
    await reading
