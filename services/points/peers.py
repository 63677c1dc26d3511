"""What points asks of ingest: its event log in batches, and snapshots of its reference feeds."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

from lifecircle.ingest.v1 import Event as Told
from lifecircle.ingest.v1 import (
    GetSnapshotRequest,
    IngestServiceStub,
    WatchDeliveriesRequest,
    WatchEventsRequest,
)
from services.kit.cursors import Followed
from services.points.domain.event import Event
from services.points.domain.reference import FEEDS, PLACE_FIELDS, File, Snapshot

_PREFIX = "business."
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_MOST_AT_ONCE = 1000  # what ingest gives in one message
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Ingest:
    """The adapter over ingest's stub."""

    stub: IngestServiceStub
    batch: int

    async def events(self, cursor: str) -> AsyncIterator[Followed[list[Event]]]:
        """Business events after a cursor, as many at once as are there, up to `batch`, in the first one's trace."""
        at_once = min(self.batch, _MOST_AT_ONCE)
        request = WatchEventsRequest(cursor=cursor, type_prefixes=[_PREFIX], batch_size=at_once)
        async for answer in self.stub.WatchEvents(request):
            yield Followed(answer.cursor, [to_event(each) for each in answer.events] or None, answer.traceparent)

    async def snapshots(self, cursor: str) -> AsyncIterator[Followed[Snapshot]]:
        """Snapshots of the reference feeds, one for each delivery after a cursor; other feeds only move the cursor."""
        async for answer in self.stub.WatchDeliveries(WatchDeliveriesRequest(cursor=cursor)):
            feed_id = answer.delivery.feed_id
            if feed_id not in (*FEEDS, PLACE_FIELDS):
                yield Followed(answer.cursor, None)
                continue
            got = await self.stub.GetSnapshot(GetSnapshotRequest(feed_id=feed_id), timeout=30)
            files = [File(file.uri, file.delivery_id, file.sha256) for file in got.files]
            yield Followed(answer.cursor, Snapshot(feed_id, files), answer.traceparent)


def to_event(message: Told) -> Event:
    """A business event of ingest's log. What cannot be read is kept so that scoring suspends it with a reason."""
    attributes = message.attributes.fields

    def text(name: str) -> str:
        return clean(attributes[name].string_value) if name in attributes else ""

    return Event(
        event_id=message.event_id,
        source=message.source,
        source_event_id=clean(message.source_event_id),
        type=message.type.removeprefix(_PREFIX),
        customer_key=message.customer_key,
        product_id=text("product_id"),
        staff_id=text("staff_id"),
        channel=text("channel"),
        amount_fen=_amount(attributes["amount_fen"]) if "amount_fen" in attributes else 0,
        origin_event_id=text("origin_event_id"),
        occur_time=to_time(message.occur_time),
        receive_time=to_time(message.receive_time),
        delivery_id=message.delivery_id,
        line=message.line,
        cell_id=text("cell_id"),
        grid_id=text("grid_id"),
    )


def to_time(value: Timestamp) -> datetime:
    """An instant to the microsecond."""
    return _EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)


def clean(text: str) -> str:
    """Text that Postgres can hold: NUL becomes U+FFFD."""
    return text.replace("\0", "\ufffd")


def _amount(value: Value) -> int | None:
    """Whole fen: decimal digits as text, or a number without a fraction; None when it is neither."""
    kind = value.WhichOneof("kind")
    if kind == "null_value" or (kind == "string_value" and not value.string_value):
        return 0
    if kind == "string_value" and _WHOLE.fullmatch(value.string_value):
        return int(value.string_value)
    if kind == "number_value" and value.number_value.is_integer() and abs(value.number_value) < 2**53:
        return int(value.number_value)
    return None
