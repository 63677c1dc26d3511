"""Ingest as points sees it, over real gRPC: an event log, deliveries, snapshots of Parquet files on disk."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf.timestamp_pb2 import Timestamp

from lifecircle.ingest import v1
from services.points.domain.event import Event
from tests.points.made import PRODUCTS, STAFF

FIELDS: dict[str, list[Any]] = {
    "customer_key": [7, 7, 8],
    "staff_id": ["S1", "S2", "S3"],
    "role": ["owner", "support", "support"],
    "share_bps": [6000, 2500, 10000],
    "valid_from": [date(2026, 9, 1)] * 3,
    "valid_to": [None, None, None],
    "line": [1, 2, 3],
}
FEEDS: dict[str, dict[str, list[Any]]] = {
    "organisations": {"org_id": ["G1"], "parent_org_id": [None], "level": ["grid"], "name": ["网格一"], "line": [1]},
    "staff": {
        "staff_id": list(STAFF),
        "name": ["-"] * len(STAFF),
        "org_id": [org for org, _ in STAFF.values()],
        "role": [role for _, role in STAFF.values()],
    },
    "products": {"product_id": list(PRODUCTS), "name": list(PRODUCTS), "category": list(PRODUCTS.values())},
    "fields": FIELDS,
}
TYPES = {"customer_key": pa.int64(), "share_bps": pa.int32(), "valid_from": pa.date32(), "valid_to": pa.date32()}


class Ingest:
    """What points follows of IngestService. `log` may grow while it is followed."""

    def __init__(self, lake: Path) -> None:
        self.lake = lake
        self.log: list[v1.Event] = []
        self.deliveries: list[v1.Delivery] = []
        self.files: dict[str, list[v1.LakeFile]] = {}
        self.traceparent = ""

    def deliver(self, feed_id: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """A delivery that supersedes what was there."""
        delivery_id = f"{feed_id}-{len(self.deliveries)}"
        path = self.lake / f"{delivery_id}.parquet"
        table = {name: pa.array(values, TYPES.get(name)) for name, values in columns.items()}
        pq.write_table(pa.table(table), path, compression="zstd")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.files[feed_id] = [v1.LakeFile(uri=path.as_uri(), delivery_id=delivery_id, sha256=digest, bucket=-1)]
        self.deliveries.append(v1.Delivery(delivery_id=delivery_id, feed_id=feed_id))

    async def WatchEvents(self, request: v1.WatchEventsRequest, context: Any) -> AsyncIterator[v1.WatchEventsResponse]:
        assert list(request.type_prefixes) == ["business."]
        place = int(request.cursor or 0)
        while True:
            while place < len(self.log):
                found = self.log[place : place + request.batch_size]
                place += len(found)
                yield v1.WatchEventsResponse(cursor=str(place), events=found, traceparent=self.traceparent)
            await asyncio.sleep(0.02)

    async def WatchDeliveries(
        self, request: v1.WatchDeliveriesRequest, context: Any
    ) -> AsyncIterator[v1.WatchDeliveriesResponse]:
        place = int(request.cursor or 0)
        while True:
            while place < len(self.deliveries):
                place += 1
                yield v1.WatchDeliveriesResponse(cursor=str(place), delivery=self.deliveries[place - 1])
            await asyncio.sleep(0.02)

    async def GetSnapshot(self, request: v1.GetSnapshotRequest, context: Any) -> v1.GetSnapshotResponse:
        return v1.GetSnapshotResponse(files=self.files[request.feed_id], schema_version=1)


def told(event: Event) -> v1.Event:
    """A business event as ingest hands it on."""
    message = v1.Event(
        event_id=event.event_id,
        source=event.source,
        source_event_id=event.source_event_id,
        type=f"business.{event.type}",
        customer_key=event.customer_key,
        delivery_id=event.delivery_id,
        line=event.line,
    )
    for name in ("product_id", "staff_id", "channel", "origin_event_id"):
        if getattr(event, name):
            message.attributes[name] = getattr(event, name)
        else:
            message.attributes[name] = None
    message.attributes["amount_fen"] = "?" if event.amount_fen is None else str(event.amount_fen)
    for target, time in ((message.occur_time, event.occur_time), (message.receive_time, event.receive_time)):
        stamp = Timestamp()
        stamp.FromDatetime(time)
        target.CopyFrom(stamp)
    return message


@asynccontextmanager
async def serving(ingest: Ingest) -> AsyncIterator[str]:
    """The address of a running one."""
    server = grpc.aio.server()
    stream, unary = grpc.unary_stream_rpc_method_handler, grpc.unary_unary_rpc_method_handler
    handlers: dict[str, tuple[Any, Any, Any]] = {
        "WatchEvents": (stream, ingest.WatchEvents, v1.WatchEventsRequest),
        "WatchDeliveries": (stream, ingest.WatchDeliveries, v1.WatchDeliveriesRequest),
        "GetSnapshot": (unary, ingest.GetSnapshot, v1.GetSnapshotRequest),
    }
    methods = {
        name: make(method, kind.FromString, lambda answer: answer.SerializeToString())
        for name, (make, method, kind) in handlers.items()
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("lifecircle.ingest.v1.IngestService", methods),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)
