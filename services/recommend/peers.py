"""Recommend's neighbours: portrait's runs and ingest's deliveries, as this service's own values."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import date

from google.type.date_pb2 import Date

from lifecircle.ingest import v1 as ingest
from lifecircle.portrait import v1 as portrait
from services.kit import telemetry
from services.kit.cursors import Followed
from services.recommend.domain.snapshot import FEATURES_VERSION, FEEDS, Delivery, File, Published, Run

_PAGE = 1000


class UnknownSchema(Exception):
    """The neighbour's files have a schema version that this service cannot read; the stream waits for a newer one."""


@dataclass(frozen=True)
class Ingest:
    """The adapter over ingest's stub."""

    stub: ingest.IngestServiceStub
    ahead: Callable[[Delivery], Awaitable[None]]

    async def deliveries(self, cursor: str) -> AsyncIterator[Followed[Delivery]]:
        """Loaded deliveries of FEEDS after a cursor, each read `ahead`; other feeds only move the cursor."""
        async for told in self.stub.WatchDeliveries(ingest.WatchDeliveriesRequest(cursor=cursor)):
            if not told.HasField("delivery") or told.delivery.feed_id not in FEEDS:
                yield Followed(told.cursor, None)
                continue
            with telemetry.span("read delivery", parent=told.traceparent):
                files = await self._files(told.delivery.feed_id, told.delivery.period, told.delivery.period)
                delivery = _delivery(told.delivery, files)
                await self.ahead(delivery)
            yield Followed(told.cursor, delivery, told.traceparent)

    async def held_until(self, last: date) -> list[Delivery]:
        """The deliveries of FEEDS, of periods up to `last`, that count now."""
        until = Date(year=last.year, month=last.month, day=last.day)
        found: list[Delivery] = []
        for feed_id in FEEDS:
            files = await self._files(feed_id, None, until)
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


def _delivery(told: ingest.Delivery, files: dict[str, list[File]]) -> Delivery:
    mine = tuple(files.get(told.delivery_id, ()))
    return Delivery(told.delivery_id, told.feed_id, _day(told.period), told.sequence, mine)


def _day(told: Date) -> date:
    return date(told.year, told.month, told.day)
