"""Promises that only two connections can break."""

import asyncio
import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from sqlalchemy import text

from services.ingest import store
from services.ingest.domain import event
from services.ingest.domain.event import STAGED, Told
from services.ingest.store.events import Events
from services.ingest.store.following import Wanted
from services.ingest.store.recent import Arrival
from services.kit.db import Database, Write
from tests.ingest.made import feed_of

NOW = datetime(2026, 9, 1, tzinfo=UTC)


def told(number: int, **other: object) -> Told:
    plain = {
        "source": "boss",
        "source_event_id": f"E{number}",
        "type": "business.NEW",
        "customer_key": 0,
        "occur_time": NOW,
        "attributes": {},
    }
    return Told(**(plain | other))  # type: ignore[arg-type]


async def write(tx: Write, *events: Told, batch: str = "b") -> list[int]:
    """Write events; gives the indices of those that were not."""
    return [each.at for each in await Events().write(tx, events, Arrival(batch, NOW, ""))]


@pytest.fixture
async def clean(db: Database) -> Database:
    async with db.begin() as tx:
        for table in ("customer", "vault", "event", "event_key"):
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


async def seen(db: Database, place: tuple[int, int], **wanted: Any) -> list[tuple[str, tuple[int, int]]]:
    async with db.read() as read:
        page = await Events().after(read, place, Wanted(**wanted))
    return [(each.event.source_event_id, position) for position, each in page.facts]


async def test_an_event_that_commits_late_is_not_behind_the_place_already_passed(clean: Database) -> None:
    async with clean.begin() as late:
        await write(late, told(1))
        async with clean.begin() as early:
            await write(early, told(2))
            await early.commit()
        assert await seen(clean, (0, 0)) == []  # the second is committed, but the first may still come before it
        await late.commit()
    both = await seen(clean, (0, 0))
    assert [name for name, _ in both] == ["E1", "E2"]
    assert [name for name, _ in await seen(clean, both[0][1])] == ["E2"]


async def test_connections_that_tell_the_same_events_in_other_orders_write_each_once(clean: Database) -> None:
    batch = [told(number) for number in range(40)]

    async def tell(number: int) -> int:
        mine = random.Random(number).sample(batch, len(batch))
        async with clean.begin() as tx:
            left = await write(tx, *mine, batch=f"b{number}")
            await tx.commit()
        return len(mine) - len(left)

    assert sum(await asyncio.gather(*(tell(number) for number in range(6)))) == len(batch)
    assert len(await seen(clean, (0, 0))) == len(batch)


async def test_what_was_told_before_is_found_with_its_id_and_whether_it_is_the_same(clean: Database) -> None:
    async with clean.begin() as tx:
        assert await write(tx, told(1, attributes={"b": 1.0, "a": "x"}), told(2)) == []
        again = (told(1, attributes={"a": "x", "b": 1.0}), told(2, type="business.X"), told(3, customer_key=9), told(4))
        left = await Events().write(tx, again, Arrival("c", NOW, ""))
    assert sorted((each.at, each.event_id, each.same) for each in left) == [
        (0, "b-0", True),
        (1, "b-1", False),
        (2, "", False),
    ]


async def test_a_follower_is_given_what_he_wants_and_nothing_else(clean: Database) -> None:
    async with clean.begin() as tx:
        for key, org in enumerate(["44190101", "44190102", "4418"], 1):
            vault = "INSERT INTO vault VALUES (:key, :token, '', 1)"
            await tx.execute(text(vault), {"key": key, "token": key.to_bytes(16, "big")})
            await tx.execute(text("INSERT INTO delivery (delivery_id, feed_id, revision, sequence, file_name, sha256,"
                                  " state, receive_time) VALUES (:id, '', 0, 0, :id, '', 'RECEIVED', now())"),
                             {"id": f"d{key}"})  # fmt: skip
            customer = "INSERT INTO customer VALUES (:key, :org, 'active', '2026-09-01', 1, :id)"
            await tx.execute(text(customer), {"key": key, "org": org, "id": f"d{key}"})
        await write(tx, *(told(key, customer_key=key, source="boss" if key % 2 else "app") for key in range(4)))
        await tx.commit()
    for wanted, found in (
        ({"bucket_count": 2, "buckets": [0]}, ["E0", "E2"]),
        ({"bucket_count": 2, "buckets": [0, 1]}, ["E0", "E1", "E2", "E3"]),
        ({"org_prefixes": ["441901"]}, ["E1", "E2"]),
        ({"sources": ["app"]}, ["E0", "E2"]),
        ({"sources": ["app"], "org_prefixes": ["4"]}, ["E2"]),
    ):
        assert [name for name, _ in await seen(clean, (0, 0), **wanted)] == found, wanted


async def test_prefixes_of_types_are_taken_literally(clean: Database) -> None:
    async with clean.begin() as tx:
        kinds = ["business.NEW", "businessXNEW", "contact.feedback", "b%.x"]
        await write(tx, *(told(number, type=kind) for number, kind in enumerate(kinds)))
        await tx.commit()
    for prefixes, found in (
        (["business."], ["E0"]),
        (["b%"], ["E3"]),
        (["contact.", "business."], ["E0", "E2"]),
    ):
        assert [name for name, _ in await seen(clean, (0, 0), prefixes=prefixes)] == found


async def test_staged_rows_that_were_told_otherwise_are_found_and_the_rest_is_written(clean: Database) -> None:
    events = Events()
    rows = [(f"E{number}", "business.NEW", 0, NOW, '{"a":"1"}', number + 1) for number in range(3)]
    staged = pl.DataFrame(rows, schema=list(STAGED), orient="row")
    async with clean.begin() as tx:
        await write(tx, told(0, attributes={"a": "1"}), told(1, attributes={"a": "2"}))
        await events.stage(tx, iter([staged[:2], staged[2:]]))
        assert await events.conflicts(tx, "boss") == [2]
        assert await events.add_staged(tx, Arrival("d", NOW, "", "d"), source="boss") == 1
        await tx.commit()


_DIRTY = [
    "",
    "a\tb",
    "\\N",
    "\\.",
    "é中\"'\\",
    "".join(map(chr, range(1, 10))),
    "\x0b\x0c\x1f\x7f,;|",
    "{}",
    "x" * 3000,
]


async def test_rows_that_are_all_new_go_straight_into_the_log_as_postgres_would_have_written_them(
    clean: Database,
) -> None:
    """The digests made here are those of event_digest(), so that both ways into the log know the same events."""
    feed = feed_of(
        *({"name": name, "type": "string"} for name in ("id", "bb", "a", "z_long_name")),
        {"name": "time", "type": "datetime"},
        target={"event": {"type": "test.made", "id": ["id"], "time": "time"}},
    )
    texts: list[str | None] = [*_DIRTY, None]
    columns = {name: texts[turn:] + texts[:turn] for turn, name in enumerate(("a", "bb", "z_long_name"))}
    rows = pl.DataFrame(
        {
            "id": [f"E{at}\\\t{each or ''}" for at, each in enumerate(texts)],
            **columns,
            "time": pl.Series(
                [NOW + timedelta(seconds=at) for at in range(len(texts))], dtype=pl.Datetime("ms", "UTC")
            ),
            "line": range(1, len(texts) + 1),
        }
    )
    staged = event.from_rows(rows, feed)
    hashed = staged.with_columns(event.digests(staged))
    events, arrival = Events(), Arrival("d", NOW, "", "d")
    async with clean.begin() as tx:
        assert await events.add_fresh(tx, iter([hashed[:4], hashed[4:]]), arrival, source="tests")
        assert not await events.add_fresh(
            tx, iter([hashed[:1]]), arrival, source="tests"
        )  # and what was done before stays
        await events.stage(tx, iter([staged]))
        assert await events.conflicts(tx, "tests") == []
        assert await events.add_staged(tx, arrival, source="tests") == 0
        await tx.commit()
    async with clean.read() as read:
        found = await read.rows(text("SELECT source_event_id, occur_time, said FROM event ORDER BY line"))
        digest = text("SELECT bool_and(digest = event_digest(type, customer_key, occur_time, said::jsonb)) "
                      "FROM event JOIN event_key USING (source, source_event_id, arrival_no, line)")  # fmt: skip
        assert await read.value(digest)
    assert [row.source_event_id for row in found] == rows["id"].to_list()
    assert [row.occur_time for row in found] == rows["time"].to_list()
    for row, told_row in zip(found, rows.to_dicts(), strict=True):
        kept = {name: value for name, value in told_row.items() if name not in ("line", "time") and value is not None}
        assert json.loads(row.said) | {"time": ""} == kept | {"time": ""}


_SAID: list[dict[str, object]] = [
    {},
    {"bb": "x", "a": "y", "é": "z", "ab": "\u7ec4"},
    {"flag": True, "none": None, "int": 7, "whole": 3900.0, "below": -4.0},
    {"deep": {"zz": [1, "two", {"b": None, "aa": False}], "y": {}}, "list": []},
    *(dict[str, object](text=each, a="b") for each in _DIRTY),
]


async def test_new_events_are_copied_as_the_statements_would_have_written_them(clean: Database) -> None:
    """The digest of what was told is that of event_digest(), however the event came into the log."""
    events, arrival = Events(), Arrival("b", NOW, "")
    all_told = [told(at, attributes=each) for at, each in enumerate(_SAID)]
    moments = [NOW + timedelta(microseconds=1), datetime(1970, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)]
    all_told += [told(100 + at, occur_time=each) for at, each in enumerate(moments)]
    assert all(each.digest for each in all_told)
    async with clean.begin() as tx:
        assert await events.write(tx, all_told, arrival, fresh=True) == []
        again = await events.write(tx, all_told, Arrival("c", NOW, ""), fresh=True)  # known: looked at one by one
        await tx.commit()
    assert [(each.at, each.event_id, each.same) for each in again] == [
        (at, f"b-{at}", True) for at in range(len(all_told))
    ]
    async with clean.read() as read:
        wrong = await read.rows(
            text("SELECT source_event_id FROM event JOIN event_key USING (source, source_event_id, arrival_no, line) "
                 "WHERE digest <> event_digest(type, customer_key, occur_time, said::jsonb)")
        )  # fmt: skip
        kept = await read.rows(text("SELECT source_event_id, occur_time, said::jsonb FROM event ORDER BY event_no"))
    assert wrong == []
    assert [tuple(row) for row in kept] == [
        (each.source_event_id, each.occur_time, each.attributes) for each in all_told
    ]


@pytest.mark.parametrize("number", [1.5, 1e15, -0.0, 1e300])
async def test_what_postgres_prints_in_another_way_is_hashed_by_postgres(clean: Database, number: float) -> None:
    odd = told(1, attributes={"number": number})
    assert odd.digest is None
    assert told(1, occur_time=datetime(1969, 12, 31, tzinfo=UTC)).digest is None
    async with clean.begin() as tx:
        assert await Events().write(tx, [odd], Arrival("b", NOW, ""), fresh=True) == []
        again = await Events().write(tx, [odd], Arrival("c", NOW, ""), fresh=True)
    assert [(each.event_id, each.same) for each in again] == [("b-0", True)]


async def test_events_of_strangers_alone_are_all_left(clean: Database) -> None:
    async with clean.begin() as tx:
        left = await Events().write(tx, [told(1, customer_key=77)], Arrival("b", NOW, ""), fresh=True)
        await tx.commit()
    assert [(each.at, each.event_id) for each in left] == [(0, "")]


async def test_events_that_an_earlier_release_wrote_are_followed_and_known(clean: Database) -> None:
    """Their rows carry their ids and attributes themselves; its processes may still write while the new ones start."""
    before = told(1, attributes={"a": "1"})
    async with clean.begin() as tx:
        await tx.execute(
            text("INSERT INTO event_key (source, source_event_id, event_id, digest, receive_time) "
                 "VALUES (:s, :i, 'old-7', event_digest(:t, 0, :o, CAST(:a AS jsonb)), :o)"),
            {"s": before.source, "i": before.source_event_id, "t": before.type, "o": NOW, "a": '{"a": "1"}'},
        )  # fmt: skip
        await tx.execute(
            text("INSERT INTO event (event_id, source, source_event_id, type, customer_key, org_id, occur_time, "
                 "receive_time, attributes, delivery_id, line, traceparent) "
                 "VALUES ('old-7', :s, :i, :t, 0, '', :o, :o, CAST(:a AS jsonb), 'd', 7, 'span')"),
            {"s": before.source, "i": before.source_event_id, "t": before.type, "o": NOW, "a": '{"a": "1"}'},
        )  # fmt: skip
        again = await Events().write(tx, [before, told(2)], Arrival("b", NOW, "now"), fresh=True)
        await tx.commit()
    assert [(each.at, each.event_id, each.same) for each in again] == [(0, "old-7", True)]
    async with clean.read() as read:
        page = await Events().after(read, (0, 0), Wanted())
    assert [
        (
            logged.event.event_id,
            logged.event.delivery_id,
            logged.event.line,
            logged.event.attributes,
            logged.traceparent,
        )
        for _, logged in page.facts
    ] == [("old-7", "d", 7, {"a": "1"}, "span"), ("b-1", "", 0, {}, "now")]
