"""IngestService over real gRPC and real Postgres."""

from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime
from typing import Any

import grpc.aio
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from lifecircle.ingest import v1
from lifecircle.ingest.v1 import ingest_service_pb2
from services.ingest.api import RIGHTS
from services.kit.db import Database
from tests.fixtures.serving import Serve, Served, refused, refused_fields
from tests.ingest.house import House
from tests.ingest.made import text_of

SERVICE = ingest_service_pb2.DESCRIPTOR.services_by_name["IngestService"]
SIGNALS = "".join(f"1380000000{who}|20260901{who:02d}0000|4|40976|1\n" for who in range(9))


@pytest.fixture
async def served(serving: Serve, house: House) -> AsyncIterator[Served]:
    api = house.api()

    def register(target: grpc.aio.Server) -> None:
        v1.add_IngestServiceServicer_to_server(api, target)

    async with serving("ingest", register=register, rights=RIGHTS) as running:
        yield running


@pytest.fixture
def stub(served: Served) -> v1.IngestServiceStub:
    return v1.IngestServiceStub(served.channel(roles={"operator", "viewer"}))


@pytest.fixture
def privacy(served: Served) -> v1.IngestServiceStub:
    return v1.IngestServiceStub(served.channel(roles={"privacy"}, subject="officer"))


async def read(watching: Any, count: int) -> list[Any]:
    """The first answers of a stream that has no end."""
    seen = [await watching.read() for _ in range(count)]
    watching.cancel()
    return seen


def event_of(**other: object) -> v1.Event:
    told = {"source": "boss", "source_event_id": "E1", "type": "business.NEW", "occur_time": moment(1)}
    return v1.Event(**(told | other))  # type: ignore[arg-type]


def moment(seconds: int) -> Timestamp:
    return Timestamp(seconds=1_790_000_000 + seconds)


@pytest.mark.parametrize("method", list(SERVICE.methods), ids=lambda method: method.name)
async def test_a_stranger_is_refused_by_every_method(served: Served, method: MethodDescriptor) -> None:
    path, channel = f"/{SERVICE.full_name}/{method.name}", served.channel()
    answer: Awaitable[Any]
    if method.client_streaming:
        answer = channel.stream_stream(path, request_serializer=bytes)(iter([b""])).read()
    elif method.server_streaming:
        answer = channel.unary_stream(path, request_serializer=bytes)(b"").read()
    else:
        answer = channel.unary_unary(path, request_serializer=bytes)(b"")
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await answer
    assert refused(error.value)[:2] == ("UNAUTHENTICATED", "STRANGER")


def test_every_method_says_who_may_call_it() -> None:
    assert set(RIGHTS) == {method.name for method in SERVICE.methods}


async def test_numbers_are_for_the_role_privacy_alone(served: Served) -> None:
    stub = v1.IngestServiceStub(served.channel(roles={"operator", "viewer", "service"}))
    resolving = stub.ResolveIdentities(v1.ResolveIdentitiesRequest(msisdns=["13800000001"], purpose="tests"))
    revealing = stub.RevealIdentities(v1.RevealIdentitiesRequest(customer_keys=[1], purpose="tests"))
    for answer in (resolving, revealing.read()):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await answer
        assert refused(error.value)[:2] == ("PERMISSION_DENIED", "NOT_ALLOWED")


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (v1.GetDeliveryRequest(), "delivery_id"),
        (v1.GetDeliveryRequest(delivery_id="x" * 65), "delivery_id"),
        (v1.GetDeliveryRequest(delivery_id="\0"), "delivery_id"),
        (v1.GetFeedRequest(feed_id="No Such"), "feed_id"),
        (v1.ListDeliveriesRequest(file_name="x" * 256), "file_name"),
        (v1.ListDeliveriesRequest(page_size=-1), "page_size"),
        (v1.ListFeedsRequest(page_token="x"), "page_token"),
        (v1.GetSnapshotRequest(feed_id="bills", from_date=Date(year=2026, month=13, day=1)), "from_date"),
        (v1.GetSnapshotRequest(feed_id="bills", to_date=Date()), "to_date"),
        (v1.PublishEventRequest(), "event"),
        (v1.PublishEventRequest(event=event_of(source_event_id="")), "event.source_event_id"),
        (v1.PublishEventRequest(event=event_of(type="x")), "event.type"),
        (v1.PublishEventRequest(event=event_of(attributes={"to": "13900000001"})), "event.attributes.to"),
        (v1.PublishEventRequest(event=event_of(attributes={"n": "call 13900000001 now"})), "event.attributes.n"),
        (v1.PublishEventRequest(event=event_of(source_event_id="E/13900000001")), "event.source_event_id"),
        (v1.PublishEventRequest(event=event_of(attributes={"a": float("nan")})), "event.attributes"),
        (
            v1.UpdateFeedRequest(feed=v1.Feed(feed_id="tests", definition="x" * 65537), request_id="1"),
            "feed.definition",
        ),
        (v1.UpdateFeedRequest(feed=v1.Feed(feed_id="tests", definition=text_of()), request_id=""), "request_id"),
        (v1.UpdateFeedRequest(feed=v1.Feed(feed_id="other", definition=text_of()), request_id="1"), "feed.feed_id"),
        (
            v1.UpdateFeedRequest(feed=v1.Feed(feed_id="tests", definition="columns: 1"), request_id="1"),
            "feed.definition.feed",
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else type(each).__name__,
)
async def test_a_field_that_is_missing_wrong_or_too_large_is_named(
    stub: v1.IngestServiceStub, request_: object, field: str
) -> None:
    method = getattr(stub, type(request_).__name__.removesuffix("Request"))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await method(request_)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field in refused_fields(error.value)


async def test_what_is_not_there_is_not_found(stub: v1.IngestServiceStub) -> None:
    for call, reason in (
        (stub.GetFeed(v1.GetFeedRequest(feed_id="nothing")), "FEED_NOT_FOUND"),
        (stub.GetDelivery(v1.GetDeliveryRequest(delivery_id="nothing")), "DELIVERY_NOT_FOUND"),
        (stub.ListRejects(v1.ListRejectsRequest(delivery_id="nothing")), "DELIVERY_NOT_FOUND"),
        (stub.GetSnapshot(v1.GetSnapshotRequest(feed_id="nothing")), "FEED_NOT_FOUND"),
        (stub.PublishEvent(v1.PublishEventRequest(event=event_of(customer_key=10**9))), "CUSTOMER_NOT_FOUND"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        assert refused(error.value)[:2] == ("NOT_FOUND", reason)


async def test_a_feed_is_registered_without_deployment_and_changed_only_by_who_has_seen_it(
    stub: v1.IngestServiceStub, house: House
) -> None:
    feed = v1.Feed(feed_id="tests", definition=text_of(title="one"))
    first = await stub.UpdateFeed(v1.UpdateFeedRequest(feed=feed, request_id="1"))
    again = await stub.UpdateFeed(v1.UpdateFeedRequest(feed=feed, request_id="1"))
    assert first == again
    assert first.feed.revision == 1
    loaded = await house.deliver("TEST_20260901_001.TXT", "one\ntwo\n")
    assert loaded.loaded_rows == 2
    changed = v1.Feed(feed_id="tests", definition=text_of(title="two"), etag=first.feed.etag)
    second = await stub.UpdateFeed(v1.UpdateFeedRequest(feed=changed, request_id="2"))
    assert second.feed.revision == 2
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.UpdateFeed(v1.UpdateFeedRequest(feed=changed, request_id="3"))
    assert refused(error.value)[:2] == ("ABORTED", "FEED_CHANGED")
    with pytest.raises(grpc.aio.AioRpcError) as reused:
        await stub.UpdateFeed(v1.UpdateFeedRequest(feed=changed, request_id="1"))
    assert refused(reused.value)[:2] == ("ABORTED", "REQUEST_ID_REUSED")
    assert (await stub.GetFeed(v1.GetFeedRequest(feed_id="tests"))).feed == second.feed


async def test_lists_are_paged_to_their_end_and_a_token_is_good_for_its_own_list_only(
    stub: v1.IngestServiceStub, house: House
) -> None:
    for number in range(1, 6):
        await house.deliver(f"SIGNAL_2026090{number}_001.TXT", f"13800000001|2026090{number}010000|4|1|1\n")
    found, token, pages = [], "", 0
    while pages == 0 or token:
        page = await stub.ListDeliveries(v1.ListDeliveriesRequest(page_size=2, page_token=token))
        found += [each.file_name for each in page.deliveries]
        token, pages = page.next_page_token, pages + 1
        if pages == 1:
            first = token
    assert found == [f"SIGNAL_2026090{number}_001.TXT" for number in range(5, 0, -1)]
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.ListFeeds(v1.ListFeedsRequest(page_token=first))
    assert refused(error.value)[:2] == ("INVALID_ARGUMENT", "BAD_PAGE_TOKEN")
    kept = await stub.ListDeliveries(
        v1.ListDeliveriesRequest(feed_id="signalling", state=v1.Delivery.STATE_QUARANTINED)
    )
    assert not kept.deliveries


async def test_a_loaded_delivery_can_be_read_watched_and_found_in_the_lake(
    stub: v1.IngestServiceStub, house: House
) -> None:
    loaded = await house.deliver("SIGNAL_20260901_001.TXT", SIGNALS + "x|y\n")
    got = (await stub.GetDelivery(v1.GetDeliveryRequest(delivery_id=loaded.delivery_id))).delivery
    assert (got.state, got.source_rows, got.loaded_rows, got.rejected_rows) == (v1.Delivery.STATE_LOADED, 10, 9, 1)
    rejects = (await stub.ListRejects(v1.ListRejectsRequest(delivery_id=loaded.delivery_id))).rejects
    assert [(each.file_name, each.line, each.reason) for each in rejects] == [
        ("SIGNAL_20260901_001.TXT", 10, "COLUMN_COUNT")
    ]
    (seen,) = await read(stub.WatchDeliveries(v1.WatchDeliveriesRequest()), 1)
    assert seen.delivery == got
    assert len(seen.traceparent) == 55
    day = Date(year=2026, month=9, day=1)
    snapshot = await stub.GetSnapshot(v1.GetSnapshotRequest(feed_id="signalling", from_date=day, to_date=day))
    assert sum(file.rows for file in snapshot.files) == 9
    assert [file.bucket for file in snapshot.files] == [0, 1, 2, 3]
    assert all(file.uri.startswith("file:///") for file in snapshot.files)
    health = {each.feed_id: each for each in (await stub.ListFeedHealth(v1.ListFeedHealthRequest())).feeds}
    assert (health["signalling"].source_rows, health["signalling"].rejected_rows) == (10, 1)
    assert health["bills"].deliveries == 0


async def test_an_event_is_published_once_for_ever(stub: v1.IngestServiceStub) -> None:
    told = v1.PublishEventRequest(event=event_of(attributes={"amount_fen": "3900", "rate": 1e300, "deep": {"a": [1]}}))
    first = await stub.PublishEvent(told)
    again = await stub.PublishEvent(told)
    assert (again.event_id, first.duplicate, again.duplicate) == (first.event_id, False, True)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.PublishEvent(v1.PublishEventRequest(event=event_of(occur_time=moment(2))))
    assert refused(error.value) == ("ABORTED", "EVENT_ID_REUSED", {"source": "boss", "source_event_id": "E1"})


async def test_events_are_watched_in_order_filtered_and_from_a_cursor(stub: v1.IngestServiceStub, house: House) -> None:
    for number in range(4):
        kind = "business.NEW" if number % 2 else "consent.changed"
        event = event_of(source_event_id=f"E{number}", type=kind, attributes={"n": str(number)})
        await stub.PublishEvent(v1.PublishEventRequest(event=event))
    watching = stub.WatchEvents(v1.WatchEventsRequest(type_prefixes=["business."]))
    seen = await read(watching, 2)
    assert [(each.event.source_event_id, dict(each.event.attributes)) for each in seen] == [
        ("E1", {"n": "1"}),
        ("E3", {"n": "3"}),
    ]
    following = stub.WatchEvents(v1.WatchEventsRequest(cursor=seen[0].cursor))
    rest = await read(following, 2)
    assert [each.event.source_event_id for each in rest] == ["E2", "E3"]
    (batch,) = await read(stub.WatchEvents(v1.WatchEventsRequest(batch_size=3)), 1)
    assert [each.source_event_id for each in batch.events] == ["E0", "E1", "E2"]
    (last,) = await read(stub.WatchEvents(v1.WatchEventsRequest(cursor=batch.cursor, batch_size=3)), 1)
    assert [each.source_event_id for each in last.events] == ["E3"]
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await stub.WatchEvents(v1.WatchEventsRequest(cursor="nonsense")).read()
    assert refused(error.value)[:2] == ("INVALID_ARGUMENT", "CURSOR_INVALID")


async def test_who_learns_numbers_is_written_down_before_he_learns_them(
    privacy: v1.IngestServiceStub, house: House, db: Database
) -> None:
    await house.deliver("SIGNAL_20260901_001.TXT", SIGNALS)
    asked = v1.ResolveIdentitiesRequest(
        msisdns=["13800000003", "13899999999", "13800000000"], purpose="a channel's user"
    )
    assert list((await privacy.ResolveIdentities(asked)).customer_keys) == [4, 0, 1]
    reveal = privacy.RevealIdentities(
        v1.RevealIdentitiesRequest(customer_keys=[3, 99, 1], purpose="hand-over of plan 7")
    )
    parts = [part async for part in reveal]
    assert [(each.customer_key, each.msisdn) for part in parts for each in part.identities] == [
        (3, "13800000002"),
        (1, "13800000000"),
    ]
    assert parts[0].reveal_time.ToDatetime(tzinfo=UTC) <= datetime.now(UTC)
    found = await house.rows(
        "SELECT caller, method, purpose, asked, customer_keys FROM disclosure ORDER BY disclose_time"
    )
    assert found == [
        ("officer", "ResolveIdentities", "a channel's user", 3, [1, 4]),
        ("officer", "RevealIdentities", "hand-over of plan 7", 3, [1, 3]),
    ]
