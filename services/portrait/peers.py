"""What portrait asks of others: ingest's deliveries, files and events, contact's outcomes, recommend's matrices."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, date

from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from lifecircle.contact.v1 import ContactServiceStub, Outcome, OutcomeFact, WatchOutcomesRequest
from lifecircle.ingest.v1 import Delivery as Loaded
from lifecircle.ingest.v1 import Event as Told
from lifecircle.ingest.v1 import GetSnapshotRequest, IngestServiceStub, WatchDeliveriesRequest, WatchEventsRequest
from lifecircle.recommend.v1 import GetMatrixRequest, RecommendServiceStub, WatchMatricesRequest
from services.kit.cursors import Followed
from services.portrait.domain.moment import Event
from services.portrait.domain.readiness import Delivery, Inputs
from services.portrait.domain.run import LakeFile
from services.portrait.store.projections import Contact
from services.portrait.usecases.journey import Matrix

_SNAPSHOT_SECONDS = 30.0
_EVENTS_AT_ONCE = 1000
_PLAIN = ("string_value", "number_value", "bool_value")


@dataclass(frozen=True)
class Ingest:
    """The adapter over ingest's stub."""

    stub: IngestServiceStub

    async def deliveries(self, cursor: str) -> AsyncIterator[Followed[Delivery]]:
        """Loaded deliveries after a cursor."""
        async for answer in self.stub.WatchDeliveries(WatchDeliveriesRequest(cursor=cursor)):
            loaded = answer.HasField("delivery") and answer.delivery.state == Loaded.STATE_LOADED
            event = _delivery(answer.delivery) if loaded else None
            yield Followed(answer.cursor, event, answer.traceparent)

    async def snapshot(self, feed_id: str, inputs: Inputs) -> list[LakeFile]:
        """The files of a feed of all periods up to the last day of the inputs."""
        last = Date(year=inputs.to_date.year, month=inputs.to_date.month, day=inputs.to_date.day)
        request = GetSnapshotRequest(feed_id=feed_id, to_date=last)
        answer = await self.stub.GetSnapshot(request, timeout=_SNAPSHOT_SECONDS)
        return [
            LakeFile(
                file.uri,
                file.rows,
                file.sha256,
                file.bucket,
                _day(file.period),
                file.delivery_id,
                tuple(file.delivery_ids),
            )
            for file in answer.files
        ]

    async def events(self, cursor: str) -> AsyncIterator[Followed[list[tuple[Event, int]]]]:
        """Events after a cursor, in batches, each with the time (milliseconds) at which it became known."""
        request = WatchEventsRequest(cursor=cursor, batch_size=_EVENTS_AT_ONCE)
        async for answer in self.stub.WatchEvents(request):
            events = [(_event(each), _millis(each.receive_time)) for each in answer.events]
            yield Followed(answer.cursor, events or None, answer.traceparent)


@dataclass(frozen=True)
class Contacts:
    """The adapter over contact's stub."""

    stub: ContactServiceStub

    async def outcomes(self, cursor: str) -> AsyncIterator[Followed[list[Contact]]]:
        """Outcomes of contacts after a cursor, in batches."""
        async for answer in self.stub.WatchOutcomes(WatchOutcomesRequest(cursor=cursor)):
            facts = [_contact(each) for each in answer.facts if each.kind != OutcomeFact.KIND_OPENING]
            yield Followed(answer.cursor, facts or None, answer.traceparent)


@dataclass(frozen=True)
class Recommend:
    """The adapter over recommend's stub."""

    stub: RecommendServiceStub

    async def matrices(self, cursor: str) -> AsyncIterator[Followed[Matrix]]:
        """Published matrices after a cursor."""
        async for answer in self.stub.WatchMatrices(WatchMatricesRequest(cursor=cursor)):
            matrix = Matrix(answer.matrix.matrix_id) if answer.HasField("matrix") else None
            yield Followed(answer.cursor, matrix, answer.traceparent)

    async def files(self, matrix_id: str) -> list[LakeFile]:
        """The files of a matrix."""
        answer = await self.stub.GetMatrix(GetMatrixRequest(matrix_id=matrix_id), timeout=_SNAPSHOT_SECONDS)
        return [LakeFile(file.uri, file.rows, file.sha256, file.bucket) for file in answer.files]


def _event(told: Told) -> Event:
    return Event(told.event_id, told.type, told.customer_key, _millis(told.occur_time), _plain(told))


def _millis(time: Timestamp) -> int:
    """Milliseconds since 1970, a quarter of the cost of ToMilliseconds(): this is on the way of every event."""
    return time.seconds * 1000 + time.nanos // 1_000_000


def _plain(told: Told) -> dict[str, object]:
    """The attributes as texts, numbers, truth values; what is nested is left out, since no test looks into it."""
    found: dict[str, object] = {}
    for name, value in told.attributes.fields.items():
        if text := value.string_value:  # most are; asked first, since to ask for the kind costs more
            found[name] = text
        elif (kind := value.WhichOneof("kind")) in _PLAIN:
            found[name] = getattr(value, kind)
    return found


def _contact(told: OutcomeFact) -> Contact:
    result = Outcome.Result.Name(told.result).removeprefix("RESULT_").lower()
    time = told.contact_time.ToDatetime(UTC)
    return Contact(told.contact_id, told.customer_key, time, result, told.channel, told.campaign_id)


def _delivery(told: Loaded) -> Delivery:
    return Delivery(told.feed_id, _day(told.period), told.sequence, told.delivery_id, told.loaded_rows)


def _day(told: Date) -> date:
    return date(told.year, told.month, told.day)
