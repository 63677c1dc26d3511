"""What portrait asks of ingest: the deliveries that were loaded, and the lake's files of a feed."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date

from google.type.date_pb2 import Date

from lifecircle.ingest.v1 import Delivery as Loaded
from lifecircle.ingest.v1 import GetSnapshotRequest, IngestServiceStub, WatchDeliveriesRequest
from services.kit.cursors import Followed
from services.portrait.domain.readiness import Delivery, Inputs
from services.portrait.domain.run import LakeFile

_SNAPSHOT_SECONDS = 30.0


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
            LakeFile(file.uri, file.rows, file.sha256, file.bucket, _day(file.period), file.delivery_id)
            for file in answer.files
        ]


def _delivery(told: Loaded) -> Delivery:
    return Delivery(told.feed_id, _day(told.period), told.sequence, told.delivery_id, told.loaded_rows)


def _day(told: Date) -> date:
    return date(told.year, told.month, told.day)
