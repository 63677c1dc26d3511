"""Outbound gRPC: ingest's and recommend's streams and snapshots as contact's own values."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import grpc.aio
import numpy as np
import structlog
from google.protobuf.json_format import MessageToDict

from lifecircle.ingest.v1 import (
    Event,
    GetSnapshotRequest,
    IngestServiceStub,
    RevealIdentitiesRequest,
    WatchDeliveriesRequest,
    WatchEventsRequest,
)
from lifecircle.points.v1 import ListAssignmentsRequest, PointsServiceStub
from lifecircle.portrait.v1 import (
    BatchGetContactTimesRequest,
    BatchGetPortraitsRequest,
    CountAudienceRequest,
    ListAudienceMembersRequest,
    ListTagsRequest,
    PortraitServiceStub,
    WatchMomentsRequest,
    WatchRunsRequest,
)
from lifecircle.recommend.v1 import GetMatrixRequest, RecommendServiceStub, WatchMatricesRequest
from services.contact import lake
from services.contact.domain.experiment import Ints
from services.contact.domain.fact import Closing, Complained, ConsentChange, Erased, Matrix, Merged, Moment, Opening
from services.contact.domain.outcome import RANK, Outcome
from services.contact.domain.timing import Hours
from services.contact.lake import LakeFile
from services.contact.usecases.inflow import Customers, Fact
from services.kit import telemetry
from services.kit.clock import Clock
from services.kit.cursors import Followed

_log = structlog.get_logger(__name__)

TYPES = (
    "consent.changed",
    "contact.feedback",
    "business.NEW",
    "product.ordered",
    "complaint.",
    "identity.merged",
    "subject.erased",
)
"""The events that contact acts on."""

_CUSTOMERS_FEED = "customers"
_SCHEMA = 1
_MOST = 500
_PAGE = 1_000
_OPEN = ("normal", "personal")
_TIMED = 100
_PORTRAITS = 200
_REVEAL_SECONDS = 120.0
_MANIFEST_SECONDS = 30.0


class Recommend:
    """recommend, as far as contact needs it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = RecommendServiceStub(channel)

    async def matrices(self, cursor: str) -> AsyncIterator[Followed[Matrix]]:
        """Published matrices after the cursor."""
        async for message in self._stub.WatchMatrices(WatchMatricesRequest(cursor=cursor)):
            matrix = None
            if message.HasField("matrix"):
                told = message.matrix
                day = told.as_of_date
                matrix = Matrix(
                    matrix_id=told.matrix_id,
                    as_of_date=date(day.year, day.month, day.day) if told.HasField("as_of_date") else None,
                    create_time=told.create_time.ToDatetime(tzinfo=UTC),
                )
            yield Followed(message.cursor, matrix, message.traceparent)

    async def matrix_files(self, matrix_id: str) -> list[LakeFile]:
        """The files of a matrix."""
        told = await self._stub.GetMatrix(GetMatrixRequest(matrix_id=matrix_id), timeout=_MANIFEST_SECONDS)
        _understood(told.schema_version)
        return [LakeFile(file.uri, file.rows, file.sha256) for file in told.files]


class Portrait:
    """portrait, as far as contact needs it: who belongs to an audience, and what happens to customers now."""

    def __init__(self, channel: grpc.aio.Channel | None) -> None:
        self._stub = None if channel is None else PortraitServiceStub(channel)

    async def members(self, expression: str) -> Ints:
        """Who fulfils an expression over tags in the latest run, by key. Raises OSError when portrait does not say."""
        if self._stub is None:
            raise OSError("portrait is not set")
        found: list[int] = []
        token = ""
        try:
            while True:
                request = ListAudienceMembersRequest(text=expression, page_size=_PAGE, page_token=token)
                told = await self._stub.ListAudienceMembers(request, timeout=_MANIFEST_SECONDS)
                found += [one.customer_key for one in told.members]
                token = told.next_page_token
                if not token:
                    return np.array(found, np.int64)
        except grpc.aio.AioRpcError as error:
            raise OSError(f"portrait says {error.code().name}: {error.details()}") from error

    async def hours(self, customer_keys: Sequence[int]) -> dict[int, list[Hours]]:
        """Customer → the hours at which he is well spoken to, of those known; nobody is when portrait is away."""
        found: dict[int, list[Hours]] = {}
        if self._stub is None:
            return found
        try:
            for at in range(0, len(customer_keys), _TIMED):
                request = BatchGetContactTimesRequest(customer_keys=customer_keys[at : at + _TIMED])
                told = await self._stub.BatchGetContactTimes(request, timeout=_MANIFEST_SECONDS)
                for one in told.customers:
                    found[one.customer_key] = [
                        Hours(time.day_type, time.from_hour, time.to_hour, time.score) for time in one.times
                    ]
        except grpc.aio.AioRpcError as error:
            _log.warning("hours_not_told", code=error.code().name)
            return {}
        return found

    async def tags(self, customer_keys: Sequence[int]) -> dict[int, list[tuple[str, str]]]:
        """Customer → his tags (code, value or ""), none of them sensitive. Raises OSError when portrait is away."""
        if self._stub is None:
            raise OSError("portrait is not set")
        found: dict[int, list[tuple[str, str]]] = {}
        keys = sorted(set(customer_keys))
        try:
            plain = await self._plain_tags(self._stub) if keys else set()
            for at in range(0, len(keys), _PORTRAITS):
                request = BatchGetPortraitsRequest(customer_keys=keys[at : at + _PORTRAITS])
                told = await self._stub.BatchGetPortraits(request, timeout=_MANIFEST_SECONDS)
                for one in told.portraits:
                    found[one.customer_key] = [(tag.code, tag.value) for tag in one.tags if tag.code in plain]
        except grpc.aio.AioRpcError as error:
            raise OSError(f"portrait says {error.code().name}: {error.details()}") from error
        return found

    async def _plain_tags(self, stub: PortraitServiceStub) -> set[str]:
        """The codes of tags that are not sensitive."""
        plain: set[str] = set()
        token = ""
        while True:
            told = await stub.ListTags(ListTagsRequest(page_size=_PAGE, page_token=token), timeout=_MANIFEST_SECONDS)
            plain |= {tag.code for tag in told.tags if tag.sensitivity in _OPEN}
            token = told.next_page_token
            if not token:
                return plain

    async def wrong(self, expression: str) -> str:
        """What is wrong with an expression over tags; "" for nothing, or when nobody is there who could say."""
        if self._stub is None:
            return ""
        try:
            await self._stub.CountAudience(CountAudienceRequest(text=expression), timeout=_MANIFEST_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND):
                return error.details() or error.code().name
        return ""

    async def runs(self, cursor: str) -> AsyncIterator[Followed[str]]:
        """Published runs after the cursor."""
        assert self._stub is not None, "only followed when it is set"
        async for message in self._stub.WatchRuns(WatchRunsRequest(cursor=cursor)):
            run = message.run.run_id if message.HasField("run") else None
            yield Followed(message.cursor, run, message.traceparent)

    async def moments(self, cursor: str) -> AsyncIterator[Followed[Sequence[Moment]]]:
        """Matches of moment rules after the cursor."""
        assert self._stub is not None, "only followed when it is set"
        async for message in self._stub.WatchMoments(WatchMomentsRequest(cursor=cursor)):
            moment = None
            if message.HasField("moment"):
                told = message.moment
                when = told.match_time.ToDatetime(tzinfo=UTC)
                moment = [Moment(told.moment_id, told.customer_key, told.pattern_id, when)]
            yield Followed(message.cursor, moment, message.traceparent)

    @property
    def known(self) -> bool:
        """Whether it is set."""
        return self._stub is not None


class Points:
    """points, as far as contact needs it: who answers for a customer."""

    def __init__(self, channel: grpc.aio.Channel | None, clock: Clock) -> None:
        self._stub = None if channel is None else PointsServiceStub(channel)
        self._clock = clock

    async def responsible(self, customer_key: int) -> str:
        """The employee who owns the customer's responsibility field now, the largest share first; "" for none."""
        if self._stub is None:
            return ""
        request = ListAssignmentsRequest(customer_key=customer_key, page_size=1000)
        told = await self._stub.ListAssignments(request, timeout=_MANIFEST_SECONDS)
        now = self._clock()
        holding = [
            one
            for one in told.assignments
            if one.valid_from.ToDatetime(tzinfo=UTC) <= now
            and (not one.HasField("valid_to") or now < one.valid_to.ToDatetime(tzinfo=UTC))
        ]
        owner = min(holding, key=lambda one: (one.role != "owner", -one.share_bps, one.staff_id), default=None)
        return "" if owner is None else owner.staff_id


class Ingest:
    """ingest, as far as contact needs it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = IngestServiceStub(channel)

    async def deliveries(self, cursor: str) -> AsyncIterator[Followed[Customers]]:
        """The customers after each delivery of them after the cursor, read before anybody opens a transaction."""
        async for message in self._stub.WatchDeliveries(WatchDeliveriesRequest(cursor=cursor)):
            customers: Customers | None = None
            if message.delivery.feed_id == _CUSTOMERS_FEED:
                with telemetry.span("read customers", parent=message.traceparent):
                    customers = await asyncio.to_thread(lake.customers, await self._customer_files())
            yield Followed(message.cursor, customers, message.traceparent)

    async def _customer_files(self) -> list[LakeFile]:
        told = await self._stub.GetSnapshot(GetSnapshotRequest(feed_id=_CUSTOMERS_FEED), timeout=_MANIFEST_SECONDS)
        _understood(told.schema_version)
        return [LakeFile(file.uri, file.rows, file.sha256) for file in told.files]

    async def facts(self, cursor: str) -> AsyncIterator[Followed[Sequence[Fact]]]:
        """Facts after the cursor, many at a time when many are there, so that one transaction takes them all."""
        request = WatchEventsRequest(cursor=cursor, type_prefixes=TYPES, batch_size=_MOST)
        async for message in self._stub.WatchEvents(request):
            facts = [fact for event in message.events for fact in understood(event)]
            yield Followed(message.cursor, facts or None, message.traceparent)

    async def reveal(self, customer_keys: Sequence[int], purpose: str) -> AsyncIterator[list[tuple[int, str]]]:
        """(customer, clear number) in parts; audited by ingest."""
        request = RevealIdentitiesRequest(customer_keys=customer_keys, purpose=purpose)
        async for part in self._stub.RevealIdentities(request, timeout=_REVEAL_SECONDS):
            yield [(identity.customer_key, identity.msisdn) for identity in part.identities]


def understood(event: Event) -> list[Fact]:
    """The fact that an event tells, or none; an event that cannot be understood is logged and held for nobody."""
    try:
        fact = _fact(event.type, event.customer_key, _time(event), MessageToDict(event.attributes), event.source)
    except (KeyError, ValueError, TypeError) as error:
        _log.warning("event_not_understood", event_id=event.event_id, type=event.type, error=type(error).__name__)
        return []
    return [] if fact is None else [fact]


def _fact(kind: str, customer_key: int, moment: datetime, told: Mapping[str, Any], source: str) -> Fact | None:
    if kind == "consent.changed" and customer_key:
        return ConsentChange(customer_key, told["channel"], told["purpose"], told["granted"] == "Y", moment)
    if kind == "product.ordered" and customer_key and told["action"] == "open":
        return Opening(customer_key, told["product_id"], moment)
    if kind == "product.ordered" and customer_key and told["action"] == "cancel":
        return Closing(customer_key, told["product_id"], moment)
    if kind.startswith("complaint.") and customer_key:
        contact_id, satisfied = told.get("contact_id") or "", told.get("satisfied") or ""
        return Complained(told["complaint_id"], customer_key, told["kind"], contact_id, moment, satisfied)
    if kind == "business.NEW" and customer_key and told.get("product_id"):
        return Opening(customer_key, told["product_id"], moment)
    if kind == "identity.merged" and customer_key:
        return Merged(customer_key, int(told["into_key"]))
    if kind == "subject.erased" and customer_key:
        return Erased(customer_key)
    if kind == "contact.feedback":
        result = str(told["result"]).upper()
        if result not in RANK:
            raise ValueError(result)
        open_time = datetime.fromisoformat(told["open_time"]) if told.get("open_time") else None
        return Outcome(told["contact_id"], result, told["opened"] == "Y", open_time, moment, source)
    return None


def _time(event: Event) -> datetime:
    return event.occur_time.ToDatetime(tzinfo=UTC)


def _understood(schema_version: int) -> None:
    if schema_version != _SCHEMA:
        raise ValueError(f"schema version {schema_version} of a lake file is not known here, only {_SCHEMA}")
