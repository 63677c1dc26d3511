"""The event lane: batches by one stream, each event once, acknowledged after the commit, its faults one by one."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import pytest

from lifecircle.ingest import v1
from services.ingest.domain.event import Told
from services.ingest.usecases import writing
from services.ingest.usecases.writing import Writer
from tests.fixtures.counts import seeds
from tests.ingest.house import KEYS, House
from tests.ingest.test_api import event_of, moment, read, served, stub

__all__ = ["served", "stub"]


def batch(batch_id: str, events: Iterable[v1.Event]) -> v1.PublishEventsRequest:
    return v1.PublishEventsRequest(batch_id=batch_id, events=events)


async def publish(stub: v1.IngestServiceStub, *batches: v1.PublishEventsRequest) -> list[v1.PublishEventsResponse]:
    return [answer async for answer in stub.PublishEvents(iter(batches))]


def counted(answer: v1.PublishEventsResponse) -> tuple[str, int, int, int]:
    return answer.batch_id, answer.written, answer.duplicates, answer.rejected


async def test_each_batch_is_acknowledged_in_turn_and_what_is_wrong_is_answered_by_itself(
    stub: v1.IngestServiceStub, house: House
) -> None:
    bad = [
        event_of(source_event_id="E2", type="x"),
        event_of(source_event_id="E-13900000001"),
        event_of(source_event_id="E3", customer_key=10**9),
        event_of(type="business.OTHER"),
        v1.Event(source="boss", source_event_id="E4", type="business.NEW"),
    ]
    answers = await publish(
        stub,
        batch("one", [event_of(), event_of(source_event_id="E9")]),
        batch("two", [event_of(), *bad, event_of(source_event_id="E5")]),
    )
    assert [counted(answer) for answer in answers] == [("one", 2, 0, 0), ("two", 1, 1, 5)]
    assert [(each.index, each.reason) for each in answers[1].problems] == [
        (1, "INVALID_FIELD"),
        (2, "INVALID_FIELD"),
        (3, "CUSTOMER_NOT_FOUND"),
        (4, "EVENT_ID_REUSED"),
        (5, "INVALID_FIELD"),
    ]
    listed = await stub.ListEventRejects(v1.ListEventRejectsRequest(page_size=3))
    rest = await stub.ListEventRejects(v1.ListEventRejectsRequest(page_token=listed.next_page_token))
    kept = [*listed.rejects, *rest.rejects]
    assert [each.source_event_id for each in reversed(kept)] == ["E2", "E-***********", "E3", "E1", "E4"]
    assert "13900000001" not in str(kept)
    raw = await house.rows("SELECT raw FROM event_reject ORDER BY reject_no")
    assert v1.Event.FromString(KEYS.unseal(raw[1][0], b"event")) == bad[1]
    watched = await read(stub.WatchEvents(v1.WatchEventsRequest(batch_size=1000)), 1)
    assert [each.source_event_id for each in watched[0].events] == ["E1", "E9", "E5"]


@pytest.mark.parametrize("seed", seeds(2, 30))
async def test_every_message_ten_times_and_shuffled_is_as_once(
    stub: v1.IngestServiceStub, house: House, seed: int
) -> None:
    dice = random.Random(seed)
    told = [event_of(source_event_id=f"E{number}", occur_time=moment(number)) for number in range(200)] * 10
    dice.shuffle(told)
    parts = [told[start : start + 70] for start in range(0, len(told), 70)]

    async def stream(mine: list[list[v1.Event]]) -> list[v1.PublishEventsResponse]:
        return await publish(stub, *(batch("", part) for part in mine))

    answers = [each for found in await asyncio.gather(*(stream(parts[at::4]) for at in range(4))) for each in found]
    assert sum(each.written for each in answers) == 200
    assert sum(each.duplicates for each in answers) == 1800
    assert await house.value("SELECT count(*) FROM event") == 200
    assert await house.value("SELECT count(DISTINCT (source_event_id, occur_time)) FROM event") == 200


SOURCES: dict[str, tuple[str, dict[str, str]]] = {
    "dpi": ("internet.access", {"host": "v.example.cn", "category": "video"}),
    "signalling": ("location.changed", {"lac": "40976", "cell": "1"}),
    "boss": ("product.ordered", {"product_id": "P01", "action": "open"}),
    "web_hall": ("channel.visited", {"channel": "web", "page": "fee"}),
}
BATCHES, SIZE = 20, 25


async def test_each_source_is_taken_in_as_it_happens_with_its_rate_and_lag(
    stub: v1.IngestServiceStub, house: House, record_property: Callable[[str, object], None]
) -> None:
    """R003-012, R003-013, R003-014, R003-015: Internet log, signalling, business and channel visits, all at once.

    Each source tells what happens at that moment, event by event, and is followed by itself: how many of its events a
    second came through, and how long after it had happened each was received and was with its follower.
    """
    found = dict(zip(SOURCES, await asyncio.gather(*(followed(stub, source) for source in SOURCES)), strict=True))
    for source, (began, seen) in found.items():
        type_, attributes = SOURCES[source]
        events = [event for _, event in seen]
        assert [each.source_event_id for each in events] == [f"E{number}" for number in range(BATCHES * SIZE)]
        assert {(each.source, each.type) for each in events} == {(source, type_)}
        assert all(dict(each.attributes) == attributes for each in events)
        lags = sorted((at - told(each)).total_seconds() for at, each in seen)
        received = [(each.receive_time.ToDatetime(UTC) - told(each)).total_seconds() for each in events]
        rate = len(events) / (seen[-1][0] - began).total_seconds()
        record_property(f"{source} events/s", round(rate))
        record_property(f"{source} lag s, median and most", (round(lags[len(lags) // 2], 3), round(lags[-1], 3)))
        assert min(received) >= 0, f"{source} was received before it happened"
        assert all(took <= (at - told(each)).total_seconds() for took, (at, each) in zip(received, seen, strict=True))
        assert rate > 20, f"{source}: {rate:.0f} events/s"
        assert lags[-1] < 20, f"{source}: the last event was seen {lags[-1]:.1f} s after it had happened"
    assert await house.value("SELECT count(*) FROM event") == len(SOURCES) * BATCHES * SIZE


async def followed(stub: v1.IngestServiceStub, source: str) -> tuple[datetime, list[tuple[datetime, v1.Event]]]:
    """Tells what happens at a source, batch by batch; gives when it began, and each event with when it was seen."""
    type_, attributes = SOURCES[source]
    began = datetime.now(UTC)

    async def happening() -> AsyncIterator[v1.PublishEventsRequest]:
        for number in range(BATCHES):
            ids = range(number * SIZE, (number + 1) * SIZE)
            now = datetime.now(UTC)
            yield batch(
                f"{number}",
                [
                    event_of(source=source, source_event_id=f"E{at}", type=type_, occur_time=now, attributes=attributes)
                    for at in ids
                ],
            )
            await asyncio.sleep(0.005)

    async def follow() -> list[tuple[datetime, v1.Event]]:
        seen: list[tuple[datetime, v1.Event]] = []
        async with asyncio.timeout(60):
            call: Any = stub.WatchEvents(v1.WatchEventsRequest(sources=[source], batch_size=100))
            async for answer in call:
                now = datetime.now(UTC)
                seen += [(now, event) for event in answer.events]
                if len(seen) >= BATCHES * SIZE:
                    call.cancel()
                    break
        return seen

    async def tell() -> list[v1.PublishEventsResponse]:
        return [answer async for answer in stub.PublishEvents(happening())]

    seen, answers = await asyncio.gather(follow(), tell())
    assert [each.written for each in answers] == [SIZE] * BATCHES
    return began, seen


def told(event: v1.Event) -> datetime:
    return event.occur_time.ToDatetime(UTC)


async def test_callers_who_come_together_share_a_commit(house: House) -> None:
    xids = "SELECT count(DISTINCT xid) FROM event"
    told = [translated(number) for number in range(60)]
    outcomes = await asyncio.gather(
        *(house.writer.write(writing.Batch([(0, each)], [], lambda _: b"", "t")) for each in told)
    )
    assert sum(each.written for each in outcomes) == 60
    assert await house.value(xids) <= 3


async def test_a_batch_that_breaks_its_group_fails_alone(house: House) -> None:
    broken = translated(1, kind="a.\0b")  # never made by the API: Postgres cannot hold it
    good = [translated(number) for number in range(2, 30)]
    batches = [writing.Batch([(0, each)], [], lambda _: b"", "t") for each in (*good[:9], broken, *good[9:])]
    outcomes = await asyncio.gather(*(house.writer.write(each) for each in batches), return_exceptions=True)
    assert [at for at, each in enumerate(outcomes) if isinstance(each, BaseException)] == [9]
    assert await house.value("SELECT count(*) FROM event") == len(good)


async def test_who_brings_more_than_there_is_room_for_waits(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "ROOM", 10)
    writer = Writer(house.db, house.event_store, KEYS, house.clock, house.ids)
    first = await writer.bring(writing.Batch([(n, translated(n)) for n in range(8)], [], lambda _: b"", "t"))
    waiting = asyncio.create_task(
        writer.bring(writing.Batch([(n, translated(n)) for n in range(8, 16)], [], lambda _: b"", "t"))
    )
    await asyncio.sleep(0)
    assert not waiting.done()
    assert (await first).written == 8
    assert (await (await waiting)).written == 8


async def test_a_caller_who_goes_away_in_mid_stream_leaves_the_lane_to_the_others(
    stub: v1.IngestServiceStub, house: House
) -> None:
    async def endless() -> AsyncIterator[v1.PublishEventsRequest]:
        for number in range(10**6):
            yield batch(str(number), [event_of(source_event_id=f"G{number}")])

    call: Any = stub.PublishEvents(endless())
    await call.read()
    call.cancel()
    assert counted((await publish(stub, batch("mine", [event_of()])))[0]) == ("mine", 1, 0, 0)


def translated(number: int, kind: str = "business.NEW") -> Told:
    return Told("boss", f"E{number}", kind, 0, datetime(2026, 9, 1, tzinfo=UTC), {})
