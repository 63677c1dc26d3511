"""Promises that only two connections can break."""

import asyncio
from datetime import UTC, datetime

import polars as pl
import pytest
from sqlalchemy import text

from services.ingest import store
from services.ingest.domain.event import STAGED, Event
from services.ingest.store.events import Events
from services.kit.db import Database

NOW = datetime(2026, 9, 1, tzinfo=UTC)


def event_of(number: int, **other: object) -> Event:
    told = {
        "event_id": f"id{number}",
        "source": "boss",
        "source_event_id": f"E{number}",
        "type": "business.NEW",
        "customer_key": 0,
        "occur_time": NOW,
        "receive_time": NOW,
        "attributes": {},
    }
    return Event(**(told | other))  # type: ignore[arg-type]


@pytest.fixture
async def clean(db: Database) -> Database:
    async with db.begin() as tx:
        for table in ("customer", "vault", "event"):
            await tx.execute(text(f"DELETE FROM {table}"))
        await tx.commit()
    return db


async def test_many_connections_assign_overlapping_numbers_densely_and_agree(clean: Database) -> None:
    identities = store.Identities()

    async def assign(first: int) -> dict[bytes, int]:
        tokens = [number.to_bytes(16, "big") for number in range(first, first + 40)]
        async with clean.begin() as tx:
            assigned = await identities.assign(tx, dict.fromkeys(tokens, b"sealed"), 1)
            await asyncio.sleep(0.01)  # the others wait, or would see what is not committed
            await tx.commit()
        return assigned

    found = await asyncio.gather(*(assign(first) for first in range(0, 160, 20)))
    merged: dict[bytes, int] = {}
    for each in found:
        for token, key in each.items():
            assert merged.setdefault(token, key) == key
    assert sorted(merged.values()) == list(range(1, len(merged) + 1))


async def test_an_assignment_that_was_rolled_back_leaves_no_gap(clean: Database) -> None:
    identities = store.Identities()
    async with clean.begin() as tx:
        await identities.assign(tx, {b"lost": b"sealed"}, 1)
    async with clean.begin() as tx:
        assert await identities.assign(tx, {b"kept": b"sealed"}, 1) == {b"kept": 1}


async def test_an_event_that_commits_late_is_not_behind_the_place_already_passed(clean: Database) -> None:
    events = Events()

    async def seen(place: tuple[int, int]) -> list[tuple[str, tuple[int, int]]]:
        async with clean.read() as read:
            page = await events.after(read, place, [], 10)
        return [(each.event.event_id, each.position) for each in page.events]

    async with clean.begin() as late:
        await events.add(late, event_of(1), "")
        async with clean.begin() as early:
            await events.add(early, event_of(2), "")
            await early.commit()
        assert await seen((0, 0)) == []  # the second is committed, but the first may still come before it
        await late.commit()
    both = await seen((0, 0))
    assert [name for name, _ in both] == ["id1", "id2"]
    assert [name for name, _ in await seen(both[0][1])] == ["id2"]


async def test_two_connections_that_tell_the_same_event_write_it_once(clean: Database) -> None:
    events = Events()

    async def tell(number: int) -> bool:
        async with clean.begin() as tx:
            written = await events.add(tx, event_of(1, event_id=f"id{number}"), "")
            await tx.commit()
        return written

    assert sorted(await asyncio.gather(*(tell(number) for number in range(6)))) == [False] * 5 + [True]


async def test_prefixes_of_types_are_taken_literally(clean: Database) -> None:
    events = Events()
    async with clean.begin() as tx:
        for number, kind in enumerate(["business.NEW", "businessXNEW", "contact.feedback", "b%.x"]):
            await events.add(tx, event_of(number, type=kind), "")
        await tx.commit()
    async with clean.read() as read:
        for prefixes, found in (
            (["business."], ["id0"]),
            (["b%"], ["id3"]),
            (["contact.", "business."], ["id0", "id2"]),
        ):
            page = await events.after(read, (0, 0), prefixes, 10)
            assert [each.event.event_id for each in page.events] == found


async def test_staged_rows_that_were_told_otherwise_are_found_and_the_rest_is_written(clean: Database) -> None:
    events = Events()
    rows = [(f"E{number}", "business.NEW", 0, NOW, '{"a":"1","b":null}', number + 1) for number in range(3)]
    staged = pl.DataFrame(rows, schema=list(STAGED), orient="row")
    async with clean.begin() as tx:
        await events.add(tx, event_of(0, attributes={"a": "1"}), "")
        await events.add(tx, event_of(1, attributes={"a": "2"}), "")
        await events.stage(tx, [staged[:2], staged[2:]])
        assert await events.conflicts(tx, "boss") == [2]
        assert await events.add_staged(tx, source="boss", delivery_id="d", now=NOW, traceparent="") == 1
        await tx.commit()
