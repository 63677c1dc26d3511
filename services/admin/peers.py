"""What admin asks of ingest: the operator's organisation file."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from lifecircle.ingest.v1 import GetSnapshotRequest, IngestServiceStub, WatchDeliveriesRequest
from services.admin.lake import File
from services.kit.cursors import Followed

_FEED = "organisations"


@dataclass(frozen=True)
class Ingest:
    """The adapter over ingest's stub."""

    stub: IngestServiceStub

    async def snapshots(self, cursor: str) -> AsyncIterator[Followed[list[File]]]:
        """The files of the organisation feed, once for each delivery of it; other feeds only move the cursor."""
        async for answer in self.stub.WatchDeliveries(WatchDeliveriesRequest(cursor=cursor)):
            if answer.delivery.feed_id != _FEED:
                yield Followed(answer.cursor, None)
                continue
            got = await self.stub.GetSnapshot(GetSnapshotRequest(feed_id=_FEED), timeout=30)
            yield Followed(answer.cursor, [File(file.uri, file.sha256) for file in got.files], answer.traceparent)
