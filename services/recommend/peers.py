"""Recommend's neighbours: portrait's runs and ingest's deliveries, as this service's own values."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, timedelta

import grpc.aio
import numpy as np
import structlog
from google.type.date_pb2 import Date

from lifecircle.contact import v1 as contact
from lifecircle.ingest import v1 as ingest
from lifecircle.portrait import v1 as portrait
from services.kit import telemetry
from services.kit.cursors import Followed
from services.recommend.domain.outcome import Gone, Outcome
from services.recommend.domain.ownership import Orders
from services.recommend.domain.snapshot import (
    CALL_DAYS,
    CALLS,
    FEATURES_VERSION,
    FEEDS,
    GRAPH_FEEDS,
    Delivery,
    File,
    Published,
    Run,
)
from services.recommend.domain.trial import Trial

_log = structlog.get_logger(__name__)

_PAGE, _PLANS, _SECONDS = 1000, 100, 30
_TRIED = (contact.Contact.STATE_HANDED_OVER, contact.Contact.STATE_CONTROL)
_ORDERED, _MOST_EVENTS = "product.ordered", 500
_ERASED, _MERGED = "subject.erased", "identity.merged"


class UnknownSchema(Exception):
    """The neighbour's files have a schema version that this service cannot read; the stream waits for a newer one."""


@dataclass(frozen=True)
class Ingest:
    """The adapter over ingest's stub."""

    stub: ingest.IngestServiceStub
    ahead: Callable[[Delivery], Awaitable[None]]

    async def deliveries(self, cursor: str) -> AsyncIterator[Followed[Delivery]]:
        """Loaded deliveries of FEEDS and GRAPH_FEEDS after a cursor, each read `ahead`; others only move the cursor."""
        async for told in self.stub.WatchDeliveries(ingest.WatchDeliveriesRequest(cursor=cursor)):
            if not told.HasField("delivery") or told.delivery.feed_id not in (*FEEDS, *GRAPH_FEEDS):
                yield Followed(told.cursor, None)
                continue
            with telemetry.span("read delivery", parent=told.traceparent):
                files = await self._files(told.delivery.feed_id, told.delivery.period, told.delivery.period)
                delivery = _delivery(told.delivery, files)
                await self.ahead(delivery)
            yield Followed(told.cursor, delivery, told.traceparent)

    async def orders(self, cursor: str) -> AsyncIterator[Followed[Orders]]:
        """Orders as they happen after a cursor, as many at once as are there; by file or by RPC, each once."""
        request = ingest.WatchEventsRequest(cursor=cursor, type_prefixes=[_ORDERED], batch_size=_MOST_EVENTS)
        async for told in self.stub.WatchEvents(request):
            yield Followed(told.cursor, _orders(told.events), told.traceparent)

    async def gone(self, cursor: str) -> AsyncIterator[Followed[list[Gone]]]:
        """Keys that were erased or merged after a cursor."""
        request = ingest.WatchEventsRequest(cursor=cursor, type_prefixes=[_ERASED, _MERGED], batch_size=_MOST_EVENTS)
        async for told in self.stub.WatchEvents(request):
            yield Followed(told.cursor, _gone(told.events) or None, told.traceparent)

    async def held_until(self, last: date) -> list[Delivery]:
        """The deliveries of FEEDS and GRAPH_FEEDS, of periods up to `last`, that count now."""
        until = _told(last)
        found: list[Delivery] = []
        since = last - timedelta(days=CALL_DAYS)
        for feed_id in (*FEEDS, *GRAPH_FEEDS):
            files = await self._files(feed_id, _told(since) if feed_id == CALLS else None, until)
            token = ""
            while True:
                page = await self.stub.ListDeliveries(
                    ingest.ListDeliveriesRequest(
                        feed_id=feed_id, state=ingest.Delivery.STATE_LOADED, page_size=_PAGE, page_token=token
                    )
                )
                found += [_delivery(each, files) for each in page.deliveries if each.delivery_id in files]
                token = page.next_page_token
                if not token:
                    break
        return found

    async def _files(self, feed_id: str, first: Date | None, last: Date) -> dict[str, list[File]]:
        request = ingest.GetSnapshotRequest(feed_id=feed_id, from_date=first, to_date=last)
        snapshot = await self.stub.GetSnapshot(request, timeout=30)
        files: dict[str, list[File]] = {}
        for each in snapshot.files:
            files.setdefault(each.delivery_id, []).append(File(each.uri, each.rows, each.sha256, each.bucket))
        return files


@dataclass(frozen=True)
class Contact:
    """The adapter over contact's stub."""

    stub: contact.ContactServiceStub

    async def trials(self, most: int) -> list[Trial]:
        """Who was contacted and who was held out, of the latest plans that held customers out; at most so many.

        Nobody while contact is away: acceptance is learned without it.
        """
        try:
            return await self._trials(most)
        except grpc.aio.AioRpcError as error:
            _log.warning("trials_unknown", code=error.code().name)
            return []

    async def _trials(self, most: int) -> list[Trial]:
        found: list[Trial] = []
        token = ""
        while True:
            asked = contact.ListPlansRequest(page_size=_PLANS, page_token=token)
            page = await self.stub.ListPlans(asked, timeout=_SECONDS)
            for plan in page.plans:
                if plan.control_contacts and len(found) < most:
                    found += await self._of_plan(plan.plan_id, most - len(found))
            token = page.next_page_token
            if not token or len(found) >= most:
                return found

    async def _of_plan(self, plan_id: str, most: int) -> list[Trial]:
        found: list[Trial] = []
        token = ""
        while True:
            asked = contact.ListContactsRequest(plan_id=plan_id, page_size=_PAGE, page_token=token)
            page = await self.stub.ListContacts(asked, timeout=_SECONDS)
            found += [_trial(each) for each in page.contacts if each.state in _TRIED and each.HasField("contact_time")]
            token = page.next_page_token
            if not token or len(found) >= most:
                return found[:most]

    async def outcomes(self, cursor: str) -> AsyncIterator[Followed[list[Outcome]]]:
        """What came of contacts after a cursor, in batches; what matches no contact, or has no time, is left out."""
        async for told in self.stub.WatchOutcomes(contact.WatchOutcomesRequest(cursor=cursor)):
            facts = [_outcome(each) for each in told.facts if each.customer_key and each.HasField("contact_time")]
            yield Followed(told.cursor, facts or None, told.traceparent)


@dataclass(frozen=True)
class Portrait:
    """The adapter over portrait's stub."""

    stub: portrait.PortraitServiceStub
    ingest: Ingest

    async def runs(self, cursor: str) -> AsyncIterator[Followed[Published]]:
        """Published runs after a cursor, each with its feature files. Raises UnknownSchema."""
        async for told in self.stub.WatchRuns(portrait.WatchRunsRequest(cursor=cursor)):
            if not told.HasField("run"):
                yield Followed(told.cursor, None)
                continue
            with telemetry.span("read run", parent=told.traceparent):
                published = await self._published(told.run)
            yield Followed(told.cursor, published, told.traceparent)

    async def _published(self, told: portrait.Run) -> Published:
        request = portrait.GetSnapshotRequest(run_id=told.run_id, table="features")
        snapshot = await self.stub.GetSnapshot(request, timeout=30)
        if snapshot.schema_version > FEATURES_VERSION:
            raise UnknownSchema(f"features of run {told.run_id} have schema version {snapshot.schema_version}")
        files = tuple(File(each.uri, each.rows, each.sha256, each.bucket) for each in snapshot.files)
        run = Run(told.run_id, _day(told.to_date), told.customers, files, await self._labels())
        return Published(run, tuple(await self.ingest.held_until(run.to_date)))

    async def _labels(self) -> dict[str, str]:
        labels: dict[str, str] = {}
        token = ""
        while True:
            page = await self.stub.ListTags(portrait.ListTagsRequest(page_size=_PAGE, page_token=token), timeout=30)
            labels |= {tag.code: tag.name for tag in page.tags}
            token = page.next_page_token
            if not token:
                return labels


def _orders(told: Iterable[ingest.Event]) -> Orders | None:
    """The events that name customer, product, order and a known action; None without one."""
    rows = []
    for each in told:
        fields = {name: each.attributes.fields[name].string_value for name in ("product_id", "order_id", "action")
                  if name in each.attributes.fields}  # fmt: skip
        order_id = fields.get("order_id") or each.source_event_id
        if each.customer_key and fields.get("product_id") and fields.get("action") in ("open", "cancel"):
            time = each.occur_time.ToMilliseconds()
            rows.append((each.customer_key, fields["product_id"], order_id, time, fields["action"] == "open"))
    if not rows:
        return None
    customer, product, order, time_, opens = zip(*rows, strict=True)
    return Orders(
        np.array(customer, dtype=np.int64),
        np.array(product, dtype=object),
        np.array(order, dtype=object),
        np.array(time_, dtype=np.int64),
        np.array(opens, dtype=bool),
    )


def _gone(told: Iterable[ingest.Event]) -> list[Gone]:
    found = []
    for each in told:
        if each.type == _ERASED:
            found.append(Gone(each.customer_key, 0))
        elif each.type == _MERGED:
            found.append(Gone(each.customer_key, int(each.attributes.fields["into_key"].string_value)))
    return found


def _outcome(told: contact.OutcomeFact) -> Outcome:
    result = contact.Outcome.Result.Name(told.result).removeprefix("RESULT_")
    return Outcome(
        told.contact_id,
        told.customer_key,
        told.product_id,
        told.campaign_id,
        told.channel,
        "" if result == "UNSPECIFIED" else result,
        told.opened,
        told.contact_time.ToDatetime(UTC),
    )


def _trial(told: contact.Contact) -> Trial:
    return Trial(
        told.contact_id,
        told.customer_key,
        told.product_id,
        told.campaign_id,
        told.contact_time.ToDatetime(UTC),
        told.state == contact.Contact.STATE_HANDED_OVER,
    )


def _delivery(told: ingest.Delivery, files: dict[str, list[File]]) -> Delivery:
    mine = tuple(files.get(told.delivery_id, ()))
    return Delivery(told.delivery_id, told.feed_id, _day(told.period), told.sequence, mine)


def _told(day: date) -> Date:
    return Date(year=day.year, month=day.month, day=day.day)


def _day(told: Date) -> date:
    return date(told.year, told.month, told.day)
