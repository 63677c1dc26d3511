"""What portrait asks of others: ingest's deliveries, files and events, contact's outcomes, recommend's matrices."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from lifecircle.contact.v1 import (
    Channel,
    ContactServiceStub,
    GetCampaignRequest,
    GetPolicyRequest,
    Outcome,
    OutcomeFact,
    WatchOutcomesRequest,
)
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
_PRICED = frozenset({"coupon", "benefit", "trial"})
"""Types of contact's campaigns that take something off a price."""
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
    _discounts: dict[str, bool] = field(default_factory=dict)
    """What was asked of campaigns: a campaign that contacts customers does not change its promotion any more."""

    async def outcomes(self, cursor: str) -> AsyncIterator[Followed[list[Contact]]]:
        """Outcomes of contacts after a cursor, in batches, each with whether its campaign gave a discount and what it
        cost."""
        async for answer in self.stub.WatchOutcomes(WatchOutcomesRequest(cursor=cursor)):
            told = [each for each in answer.facts if each.kind != OutcomeFact.KIND_OPENING]
            known = {each.campaign_id: await self._discount(each.campaign_id) for each in told}
            prices = await self._prices() if told else {}
            facts = [_contact(each, known[each.campaign_id], prices.get(each.channel, 0)) for each in told]
            yield Followed(answer.cursor, facts or None, answer.traceparent)

    async def _prices(self) -> dict[str, int]:
        """What a contact costs by channel, in fen, by the policy in force."""
        try:
            limits = (await self.stub.GetPolicy(GetPolicyRequest(), timeout=_SNAPSHOT_SECONDS)).policy.channel_limits
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise
            return {}  # no policy was ever made
        return {Channel.Name(each.channel).removeprefix("CHANNEL_").lower(): each.cost_fen for each in limits}

    async def _discount(self, campaign_id: str) -> bool | None:
        """Whether a campaign gives a discount: it tells a promotion, or is of a type that takes off a price. None for
        no campaign, or one that contact does not know."""
        if not campaign_id:
            return None
        if campaign_id not in self._discounts:
            try:
                request = GetCampaignRequest(campaign_id=campaign_id)
                campaign = (await self.stub.GetCampaign(request, timeout=_SNAPSHOT_SECONDS)).campaign
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                    raise
                return None
            self._discounts[campaign_id] = bool(campaign.brief.promotion) or campaign.type in _PRICED
        return self._discounts[campaign_id]


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
    fields = told.attributes.fields
    for name in fields:  # a map of protobuf has no items() of its own, and the generic one costs as much as the rest
        value = fields[name]
        if text := value.string_value:  # most are; asked first, since to ask for the kind costs more
            found[name] = text
        elif (kind := value.WhichOneof("kind")) in _PLAIN:
            found[name] = getattr(value, kind)
    return found


def _contact(told: OutcomeFact, discount: bool | None, cost_fen: int) -> Contact:
    result = Outcome.Result.Name(told.result).removeprefix("RESULT_").lower()
    time = told.contact_time.ToDatetime(UTC)
    who = (told.contact_id, told.customer_key)
    return Contact(*who, time, result, told.channel, told.campaign_id, discount=discount, cost_fen=cost_fen)


def _delivery(told: Loaded) -> Delivery:
    return Delivery(told.feed_id, _day(told.period), told.sequence, told.delivery_id, told.loaded_rows)


def _day(told: Date) -> date:
    return date(told.year, told.month, told.day)
