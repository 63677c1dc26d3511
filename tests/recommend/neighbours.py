"""Stand-ins for ingest and portrait: real servers that publish what a test gives them."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import grpc.aio
from google.type.date_pb2 import Date

from lifecircle.contact import v1 as contact
from lifecircle.ingest import v1 as ingest
from lifecircle.portrait import v1 as portrait
from services.recommend.domain.snapshot import Delivery, Run
from services.recommend.lake import Lake

Context = grpc.aio.ServicerContext[Any, Any]


def day(told: date) -> Date:
    return Date(year=told.year, month=told.month, day=told.day)


class Ingest(ingest.IngestServiceServicer):
    """Publishes deliveries in order; the cursor is how many were given. `trace` goes with each."""

    def __init__(self, trace: str = "") -> None:
        self.deliveries: list[Delivery] = []
        self.superseded: set[str] = set()
        self.events: list[ingest.Event] = []
        self.trace = trace

    async def WatchDeliveries(
        self, request: ingest.WatchDeliveriesRequest, context: Context
    ) -> AsyncIterator[ingest.WatchDeliveriesResponse]:
        given = int(request.cursor or 0)
        while True:
            while given < len(self.deliveries):
                told = _delivery(self.deliveries[given])
                given += 1
                yield ingest.WatchDeliveriesResponse(cursor=str(given), delivery=told, traceparent=self.trace)
            await asyncio.sleep(0.05)

    async def WatchEvents(
        self, request: ingest.WatchEventsRequest, context: Context
    ) -> AsyncIterator[ingest.WatchEventsResponse]:
        given = int(request.cursor or 0)
        while True:
            if given < len(self.events):
                events, given = self.events[given:], len(self.events)
                yield ingest.WatchEventsResponse(cursor=str(given), events=events, traceparent=self.trace)
            await asyncio.sleep(0.05)

    async def GetSnapshot(self, request: ingest.GetSnapshotRequest, context: Context) -> ingest.GetSnapshotResponse:
        files = [
            ingest.LakeFile(uri=file.uri, rows=file.rows, sha256=file.sha256, bucket=-1, delivery_id=each.delivery_id)
            for each in self._counting(request.feed_id)
            for file in each.files
        ]
        return ingest.GetSnapshotResponse(files=files, schema_version=1)

    async def ListDeliveries(
        self, request: ingest.ListDeliveriesRequest, context: Context
    ) -> ingest.ListDeliveriesResponse:
        return ingest.ListDeliveriesResponse(deliveries=map(_delivery, self._counting(request.feed_id)))

    def _counting(self, feed_id: str) -> list[Delivery]:
        return [each for each in self.deliveries if each.feed_id == feed_id and each.delivery_id not in self.superseded]


class Portrait(portrait.PortraitServiceServicer):
    """Publishes runs in order."""

    def __init__(self, trace: str = "") -> None:
        self.runs: list[Run] = []
        self.trace = trace

    async def WatchRuns(
        self, request: portrait.WatchRunsRequest, context: Context
    ) -> AsyncIterator[portrait.WatchRunsResponse]:
        given = int(request.cursor or 0)
        while True:
            while given < len(self.runs):
                told = _run(self.runs[given])
                given += 1
                yield portrait.WatchRunsResponse(cursor=str(given), run=told, traceparent=self.trace)
            await asyncio.sleep(0.05)

    async def GetSnapshot(self, request: portrait.GetSnapshotRequest, context: Context) -> portrait.GetSnapshotResponse:
        run = next(each for each in self.runs if each.run_id == request.run_id)
        files = [portrait.SnapshotFile(**file.plain) for file in run.files]
        return portrait.GetSnapshotResponse(run=_run(run), files=files, schema_version=1)

    async def ListTags(self, request: portrait.ListTagsRequest, context: Context) -> portrait.ListTagsResponse:
        tags = [portrait.Tag(code=code, name=name) for code, name in self.runs[-1].labels.items()]
        return portrait.ListTagsResponse(tags=tags)


class Contact(contact.ContactServiceServicer):
    """Tells facts of contacts in order, then stays quiet; the cursor is how many were told."""

    def __init__(self) -> None:
        self.facts: list[contact.OutcomeFact] = []

    async def WatchOutcomes(
        self, request: contact.WatchOutcomesRequest, context: Context
    ) -> AsyncIterator[contact.WatchOutcomesResponse]:
        given = int(request.cursor or 0)
        while True:
            facts, given = self.facts[given:], len(self.facts)
            yield contact.WatchOutcomesResponse(cursor=str(given), facts=facts)
            await asyncio.sleep(0.05)


def pair(trace: str = "") -> tuple[Ingest, Portrait]:
    """Both, with nothing published; they offer only what recommend asks for."""
    return Ingest(trace), Portrait(trace)  # type: ignore[abstract]


class SlowLake(Lake):
    """A lake that is as slow as a test wants: models of `slow` are not given before `go`."""

    slow = ""
    go: threading.Event

    def get(self, path: str) -> bytes:
        """As the lake, later."""
        if self.slow and self.slow in path:
            assert self.go.wait(30)
        return super().get(path)


@asynccontextmanager
async def neighbours(ingest_: Ingest, portrait_: Portrait, contact_: Contact | None = None) -> AsyncIterator[str]:
    """All behind one door; gives its host:port."""
    server = grpc.aio.server()
    if contact_ is not None:
        contact.add_ContactServiceServicer_to_server(contact_, server)
    ingest.add_IngestServiceServicer_to_server(ingest_, server)
    portrait.add_PortraitServiceServicer_to_server(portrait_, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def _delivery(each: Delivery) -> ingest.Delivery:
    return ingest.Delivery(
        delivery_id=each.delivery_id,
        feed_id=each.feed_id,
        period=day(each.period),
        sequence=each.sequence,
        state=ingest.Delivery.STATE_LOADED,
    )


def _run(each: Run) -> portrait.Run:
    return portrait.Run(
        run_id=each.run_id, from_date=day(each.to_date), to_date=day(each.to_date), customers=each.customers
    )
