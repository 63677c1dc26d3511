"""Whoever follows close behind is told what the process has just written without the table being read: the same."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from services.ingest.domain.event import Told
from services.ingest.store.events import Events
from services.ingest.store.following import Wanted
from services.ingest.store.recent import Arrival, Recent
from services.kit.db import Database
from services.kit.log import Page, Position

NOW = datetime(2026, 9, 1, 8, 30, 1, 250_000, tzinfo=UTC)
ATTRIBUTES: list[dict[str, Any]] = [
    {},
    {"host": "example.com", "v": "7"},
    {"fee": 39.0, "share": 0.25, "on": True, "none": None},
    {"nested": {"b": [1.0, "x", False], "a": "生活圈"}, "quote": 'a"b\\c\n'},
]


@pytest.fixture
async def clean(db: Database) -> Database:
    async with db.begin() as tx:
        for table in ("customer", "vault", "event", "event_key"):
            await tx.execute(text(f"DELETE FROM {table}"))
        for key in (1, 2, 3):
            stmt = "INSERT INTO vault (customer_key, token, sealed, key_version) VALUES (:key, :token, '', 1)"
            await tx.execute(text(stmt), {"key": key, "token": key.to_bytes(16, "big")})
        await tx.commit()
    return db


def some(first: int, count: int) -> list[Told]:
    dice = random.Random(first)
    return [
        Told(
            dice.choice(("boss", "dpi")),
            f"E{number}",
            dice.choice(("business.NEW", "internet.access")),
            dice.randrange(4),
            NOW + timedelta(microseconds=dice.randrange(10**9)),
            dice.choice(ATTRIBUTES),
        )
        for number in range(first, first + count)
    ]


async def write(db: Database, events: Events, told: list[Told], batch: str, *, fresh: bool = True) -> None:
    async with db.begin() as tx:
        await events.write(tx, told, Arrival(batch, NOW, f"00-{batch}"), fresh=fresh)
        await tx.commit()


async def page(db: Database, events: Events, place: Position, wanted: Wanted) -> Page[Any]:
    async with db.read() as read:
        return await events.after(read, place, wanted)


async def begin(db: Database, events: Events) -> Position:
    """A place behind something that is kept, and behind which nothing is written yet."""
    await write(db, events, some(9000, 1), "before")
    async with db.begin() as tx:
        return int(await tx.value(text("SELECT pg_current_xact_id()::text"))), 0


def is_kept(events: Events, place: Position) -> bool:
    return events._recent.may_hold(place[0])


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(),
        Wanted(prefixes=("business.",)),
        Wanted(sources=("dpi",)),
        Wanted(bucket_count=2, buckets=(1,)),
        Wanted(org_prefixes=("44",)),
    ],
)
async def test_what_is_told_from_memory_is_to_the_value_and_the_place_what_the_table_tells(
    clean: Database, wanted: Wanted
) -> None:
    events = Events()
    place = await begin(clean, events)
    for number in range(4):
        known = some(100 * number - 5, 5) if number else []  # told before, and told once more
        await write(clean, events, known + some(100 * number, 60), f"b{number}", fresh=number % 2 == 0)
    assert is_kept(events, place)
    mine, table = await page(clean, events, place, wanted), await page(clean, Events(), place, wanted)
    assert is_kept(events, place)  # nothing was missed: it came from memory
    assert (list(mine.facts), mine.reached[0]) == (list(table.facts), table.reached[0])
    assert len(table.facts) >= 60 or wanted.org_prefixes
    if table.facts:
        half = table.facts[len(table.facts) // 2][0]
        assert list((await page(clean, events, half, wanted)).facts) == list(
            (await page(clean, Events(), half, wanted)).facts
        )


async def test_what_was_rolled_back_or_erased_is_told_by_nobody_though_it_is_in_memory(clean: Database) -> None:
    events = Events()
    place = await begin(clean, events)
    async with clean.begin() as tx:
        await events.write(tx, some(0, 9), Arrival("lost", NOW, ""), fresh=True)
    await write(clean, events, some(0, 9), "kept")
    async with clean.begin() as tx:
        await tx.execute(text("DELETE FROM event WHERE source_event_id IN ('E3', 'E4')"))
        await tx.commit()
    told = [each.event for _, each in (await page(clean, events, place, Wanted())).facts]
    assert [each.source_event_id for each in told] == [f"E{number}" for number in (0, 1, 2, 5, 6, 7, 8)]
    assert {each.event_id.split("-")[0] for each in told} == {"kept"}


async def test_what_another_process_wrote_between_is_read_from_the_table(clean: Database) -> None:
    events = Events()
    place = await begin(clean, events)
    await write(clean, events, some(0, 5), "mine")
    await write(clean, Events(), some(5, 5), "other")
    await write(clean, events, some(10, 5), "mine too")
    for _ in range(3):  # the second time it is not even looked for
        facts = (await page(clean, events, place, Wanted())).facts
        assert [each.event.source_event_id for _, each in facts] == [f"E{number}" for number in range(15)]
    assert not is_kept(events, place)


def test_only_so_many_events_are_kept_and_the_oldest_go_first() -> None:
    recent, arrival = Recent(most=10), Arrival("b", NOW, "")
    for number in range(5):
        recent.add(number, 100 + number, some(10 * number, 4), arrival)
    assert recent.of(2, [0]) is None
    found = recent.of(3, [3, 1])
    assert found is not None
    assert [each.event.source_event_id for each in found] == ["E33", "E31"]
    assert [recent.may_hold(xid) for xid in (102, 103, 200)] == [False, True, True]


def test_nothing_is_kept_for_long() -> None:
    recent = Recent(seconds=0.0)
    recent.add(1, 100, some(0, 4), Arrival("b", NOW, ""))
    while recent.may_hold(100):  # until the clock has moved on
        pass
    assert recent.of(1, [0]) is None
