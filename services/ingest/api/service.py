"""IngestService, method by method."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import grpc.aio

from lifecircle.ingest import v1
from services.ingest.api import lane, supply, translate
from services.ingest.api.privacy import PrivacyApi
from services.ingest.api.stores import StoresApi
from services.ingest.usecases import Asking, Deliveries, Editing, Events, Feeds, Identities, Layers, Upkeep
from services.kit import idempotency, paging
from services.kit.domains import Known
from services.kit.interceptors import Caller, caller

Context = grpc.aio.ServicerContext[Any, Any]

_READ = frozenset({"viewer", "operator", "service"})
_WRITE = frozenset({"operator", "service"})
_PRIVACY = frozenset({"privacy"})

RIGHTS: Mapping[str, frozenset[str]] = {
    **supply.RIGHTS,
    "UpdateFeed": frozenset({"operator"}),
    "GetFeed": _READ,
    "ListFeeds": _READ,
    "GetDelivery": _READ,
    "ListDeliveries": _READ,
    "ListRejects": _READ,
    "WatchDeliveries": _READ,
    "GetSnapshot": _READ,
    "PublishEvent": _WRITE,
    "PublishEvents": _WRITE,
    "ListEventRejects": _READ,
    "WatchEvents": _READ,
    "ResolveIdentities": _PRIVACY,
    "RevealIdentities": _PRIVACY,
    "ListIdentities": _READ | _PRIVACY,
    "ListRows": _READ,
    "EditRows": frozenset({"operator"}),
    "ListDisclosures": _PRIVACY,
    "RotateVaultKeys": _PRIVACY,
    "RetireIdentities": _PRIVACY,
    "MergeIdentities": _PRIVACY,
    "ListMerges": _READ,
    "EraseSubject": _PRIVACY,
    "GetErasure": _PRIVACY,
    "ListErasures": _PRIVACY,
    "StartUpkeep": frozenset({"operator"}),
    "GetLineage": _READ,
    "ReleaseSnapshot": _READ,
    "ListFeedRevisions": _READ,
}
"""Method → roles that may call it."""


class IngestApi(supply.SupplyApi, PrivacyApi, StoresApi):
    """The servicer; `uri` gives readers the place of a lake file, `stop` ends the streams when the process stops."""

    def __init__(
        self,
        feeds: Feeds,
        deliveries: Deliveries,
        events: Events,
        identities: Identities,
        supplying: supply.Supplying,
        uri: Callable[[str], str],
        stop: asyncio.Event,
        *,
        erasures: Asking,
        layers: Layers,
        upkeep: Upkeep,
        editing: Editing,
        known: Known,
    ) -> None:
        super().__init__(supplying)
        self._feeds = feeds
        self._deliveries = deliveries
        self._events = events
        self._identities = identities
        self._erasures = erasures
        self._layers = layers
        self._upkeep = upkeep
        self._editing = editing
        self._known = known
        self._uri = uri
        self._stop = stop

    def _may_reveal(self, who: Caller) -> bool:
        """Whether a caller may learn clear numbers, by his roles or by a grant."""
        granted = self._known.directory.permits(who.roles, "ingest.RevealIdentities")
        return granted or not RIGHTS["RevealIdentities"].isdisjoint(who.roles)

    async def UpdateFeed(self, request: v1.UpdateFeedRequest, context: Context) -> v1.UpdateFeedResponse:
        """Register a feed or a new revision of one."""
        key = idempotency.key_of(request, context)
        asked = request.feed
        revision = await self._feeds.update(asked.feed_id, asked.definition, asked.etag, key)
        return v1.UpdateFeedResponse(feed=translate.feed(revision))

    async def GetFeed(self, request: v1.GetFeedRequest, context: Context) -> v1.GetFeedResponse:
        """One feed's contract."""
        return v1.GetFeedResponse(feed=translate.feed(await self._feeds.get(request.feed_id, request.revision)))

    async def ListFeeds(self, request: v1.ListFeedsRequest, context: Context) -> v1.ListFeedsResponse:
        """Feeds by id."""
        size = paging.clamp(request.page_size)
        after = translate.page_after(request.page_token, "ListFeeds", str)
        found = await self._feeds.page(after or "", size)
        token = translate.next_page("ListFeeds", found, size, lambda each: str(each.feed.feed_id))
        return v1.ListFeedsResponse(feeds=map(translate.feed, found), next_page_token=token)

    async def ListFeedRevisions(
        self, request: v1.ListFeedRevisionsRequest, context: Context
    ) -> v1.ListFeedRevisionsResponse:
        """Revisions of one feed, the latest first."""
        size = paging.clamp(request.page_size)
        before = translate.page_after(request.page_token, "ListFeedRevisions", int)
        found = await self._feeds.revisions(request.feed_id, before=before, size=size)
        token = translate.next_page("ListFeedRevisions", found, size, lambda each: int(each.revision))
        return v1.ListFeedRevisionsResponse(feeds=map(translate.feed, found), next_page_token=token)

    async def GetDelivery(self, request: v1.GetDeliveryRequest, context: Context) -> v1.GetDeliveryResponse:
        """One delivery."""
        return v1.GetDeliveryResponse(
            delivery=translate.delivery(await self._deliveries.get(translate.plain(request.delivery_id, "delivery_id")))
        )

    async def ListDeliveries(self, request: v1.ListDeliveriesRequest, context: Context) -> v1.ListDeliveriesResponse:
        """Deliveries, the latest first."""
        size = paging.clamp(request.page_size)
        before = translate.page_after(request.page_token, "ListDeliveries", int)
        kept = translate.kept_deliveries(request)
        found = await self._deliveries.page(**kept, before=before, size=size)
        token = translate.next_page("ListDeliveries", found, size, lambda each: int(each.delivery_no))
        return v1.ListDeliveriesResponse(deliveries=map(translate.delivery, found), next_page_token=token)

    async def ListRejects(self, request: v1.ListRejectsRequest, context: Context) -> v1.ListRejectsResponse:
        """Rejected rows of one delivery by line."""
        size = paging.clamp(request.page_size)
        after = translate.page_after(request.page_token, "ListRejects", int)
        delivery_id = translate.plain(request.delivery_id, "delivery_id")
        of, found = await self._deliveries.rejects(delivery_id, after=after or 0, size=size)
        token = translate.next_page("ListRejects", found, size, lambda each: int(each.line))
        return v1.ListRejectsResponse(rejects=[translate.reject(of, row) for row in found], next_page_token=token)

    async def WatchDeliveries(
        self, request: v1.WatchDeliveriesRequest, context: Context
    ) -> AsyncIterator[v1.WatchDeliveriesResponse]:
        """Loaded deliveries in commit order."""
        async for seen in self._deliveries.watch(request.cursor, self._stop):
            delivery = translate.delivery(seen.delivery) if seen.delivery else None
            yield v1.WatchDeliveriesResponse(cursor=seen.cursor, delivery=delivery, traceparent=seen.traceparent)

    async def PublishEvent(self, request: v1.PublishEventRequest, context: Context) -> v1.PublishEventResponse:
        """Write one event, once for ever."""
        published = await self._events.publish(translate.told(request.event), caller=caller().subject)
        return v1.PublishEventResponse(event_id=published.event_id, duplicate=published.duplicate)

    async def PublishEvents(
        self, requests: AsyncIterator[v1.PublishEventsRequest], context: Context
    ) -> AsyncIterator[v1.PublishEventsResponse]:
        """Write batches of events, each once for ever; each acknowledged after its commit."""
        async for batch_id, outcome in lane.acknowledged(self._events, requests, caller().subject, self._stop):
            yield translate.acknowledged(batch_id, outcome)

    async def ListEventRejects(
        self, request: v1.ListEventRejectsRequest, context: Context
    ) -> v1.ListEventRejectsResponse:
        """Events that were not taken in, the latest first."""
        size = paging.clamp(request.page_size)
        before = translate.page_after(request.page_token, "ListEventRejects", int)
        source = translate.plain(request.source, "source")
        found = await self._events.rejects(source=source, before=before, size=size)
        token = translate.next_page("ListEventRejects", found, size, lambda each: int(each.reject_no))
        return v1.ListEventRejectsResponse(rejects=map(translate.event_reject, found), next_page_token=token)

    async def WatchEvents(
        self, request: v1.WatchEventsRequest, context: Context
    ) -> AsyncIterator[v1.WatchEventsResponse]:
        """The event log in commit order."""
        wanted, at_once = translate.wanted(request), max(request.batch_size, 1)
        async for seen in self._events.watch(request.cursor, wanted, at_once, self._stop, subject=caller().subject):
            response = v1.WatchEventsResponse(cursor=seen.cursor, traceparent=seen.traceparent)
            if request.batch_size:
                for each in seen.events:
                    translate.fill(response.events.add(), each)
            elif seen.events:
                translate.fill(response.event, seen.events[0])
            yield response

    async def ResolveIdentities(
        self, request: v1.ResolveIdentitiesRequest, context: Context
    ) -> v1.ResolveIdentitiesResponse:
        """Customer keys of clear numbers."""
        purpose = translate.plain(request.purpose, "purpose")
        keys = await self._identities.resolve(request.msisdns, purpose=purpose, caller=caller().subject)
        return v1.ResolveIdentitiesResponse(customer_keys=keys)

    async def RevealIdentities(
        self, request: v1.RevealIdentitiesRequest, context: Context
    ) -> AsyncIterator[v1.RevealIdentitiesResponse]:
        """Clear numbers of customers, in parts."""
        asked, purpose = list(request.customer_keys), translate.plain(request.purpose, "purpose")
        async for part in self._identities.reveal(asked, purpose=purpose, caller=caller().subject):
            response = v1.RevealIdentitiesResponse(reveal_time=translate.timestamp(part.reveal_time))
            for key, number in part.identities:
                response.identities.add(customer_key=key, msisdn=number)
            yield response
