"""Ingest as portrait meets it: a real gRPC server that tells of deliveries and hands out manifests of files."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import grpc.aio
from google.type.date_pb2 import Date

from lifecircle.ingest import v1
from services.portrait.domain.run import LakeFile


def day(known: date) -> Date:
    return Date(year=known.year, month=known.month, day=known.day)


class IngestPeer(v1.IngestServiceServicer):
    """Deliveries in the order they were told; the cursor is a position in that list."""

    def __init__(self) -> None:
        self.manifest: dict[str, list[LakeFile]] = {}
        self._told: list[v1.Delivery] = []
        self._news = asyncio.Condition()

    async def load(self, manifest: Mapping[str, Sequence[LakeFile]], feeds: Iterable[str]) -> None:
        """Let the deliveries of some feeds be loaded; the same delivery again takes the place of its files."""
        async with self._news:
            for feed in feeds:
                for period, sequence, delivery_id in sorted({(f.period, *_sequence(f)) for f in manifest[feed]}):
                    files = [file for file in manifest[feed] if file.delivery_id == delivery_id]
                    gone = {(period, sequence)}
                    kept = [f for f in self.manifest.get(feed, []) if (f.period, _sequence(f)[0]) not in gone]
                    self.manifest[feed] = sorted([*kept, *files], key=lambda f: (f.period, f.bucket, f.delivery_id))
                    self._told.append(
                        v1.Delivery(
                            delivery_id=delivery_id,
                            feed_id=feed,
                            period=day(period),
                            sequence=sequence,
                            state=v1.Delivery.STATE_LOADED,
                            loaded_rows=sum(file.rows for file in files),
                        )
                    )
            self._news.notify_all()

    async def WatchDeliveries(
        self, request: v1.WatchDeliveriesRequest, context: Any
    ) -> AsyncIterator[v1.WatchDeliveriesResponse]:
        at = int(request.cursor or 0)
        while True:
            async with self._news:
                while len(self._told) <= at:
                    await self._news.wait()
            for delivery in self._told[at:]:
                at += 1
                yield v1.WatchDeliveriesResponse(cursor=str(at), delivery=delivery)

    async def GetSnapshot(self, request: v1.GetSnapshotRequest, context: Any) -> v1.GetSnapshotResponse:
        last = date(request.to_date.year, request.to_date.month, request.to_date.day)
        files = [
            v1.LakeFile(
                uri=file.uri,
                rows=file.rows,
                sha256=file.sha256,
                period=day(file.period),
                bucket=file.bucket,
                delivery_id=file.delivery_id,
            )
            for file in self.manifest.get(request.feed_id, [])
            if file.period <= last
        ]
        return v1.GetSnapshotResponse(files=files, schema_version=1)


def _sequence(file: LakeFile) -> tuple[int, str]:
    """The sequence in the name of a delivery like SIGNAL_20260901_001 or SIGNAL_20260901_001b, and the name."""
    return int(file.delivery_id.split("_")[2][:3]), file.delivery_id


@contextlib.asynccontextmanager
async def serving_ingest() -> AsyncIterator[tuple[IngestPeer, str]]:
    """The peer on a free port, with its target."""
    peer, server = IngestPeer(), grpc.aio.server()  # type: ignore[abstract]  # only what portrait calls
    v1.add_IngestServiceServicer_to_server(peer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield peer, f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
