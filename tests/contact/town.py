"""ingest and recommend as real gRPC servers that a test plays: what they tell, contact follows."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc.aio
import pyarrow as pa
import pyarrow.parquet as pq
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.date_pb2 import Date

from lifecircle.ingest import v1 as ingest
from lifecircle.recommend import v1 as recommend

Context = grpc.aio.ServicerContext[Any, Any]

CONSENT_TIME = datetime(2026, 8, 1, tzinfo=UTC)


def stamp(moment: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def number(customer_key: int) -> str:
    """The customer's clear number in this town."""
    return f"139{customer_key:08d}"


class Log:
    """Messages in order, followed by Watch: a cursor is how many came before."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self._more = asyncio.Condition()

    async def tell(self, *messages: Any) -> None:
        async with self._more:
            self.messages.extend(messages)
            self._more.notify_all()

    async def some(self, at: int, most: int) -> list[Any]:
        """The next messages, once there are any."""
        async with self._more:
            await self._more.wait_for(lambda: len(self.messages) > at)
        return self.messages[at : at + most]

    async def after(self, cursor: str) -> AsyncIterator[tuple[str, Any]]:
        at = int(cursor or 0)
        while True:
            async with self._more:
                while len(self.messages) == at:
                    await self._more.wait()
            while at < len(self.messages):
                at += 1
                yield str(at), self.messages[at - 1]


class Town(ingest.IngestServiceServicer, recommend.RecommendServiceServicer):  # type: ignore[misc]
    """Both neighbours in one. While `open` is not set, matrices, customers and numbers stop half way."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = ""
        self.events, self.deliveries, self.matrices = Log(), Log(), Log()
        self.purposes: list[str] = []
        self.unknown: set[int] = set()
        self.breaks_after: int | None = None
        self.asked = 0
        self.open = asyncio.Event()
        self.open.set()
        self._files: dict[str, tuple[str, int, str]] = {}

    async def publish_customers(self, rows: Mapping[int, tuple[str, str, str]]) -> None:
        """customer → (org_id, level, status)."""
        columns = {
            "customer_key": pa.array(list(rows), pa.int64()),
            "org_id": [org for org, _, _ in rows.values()],
            "level": [level or None for _, level, _ in rows.values()],
            "status": [status for _, _, status in rows.values()],
        }
        self._write("customers", columns)
        delivery = ingest.Delivery(delivery_id="d1", feed_id="customers", state=ingest.Delivery.STATE_LOADED)
        await self.deliveries.tell(ingest.Delivery(delivery_id="d0", feed_id="bills"), delivery)

    async def publish_matrix(
        self, matrix_id: str, scores: Mapping[tuple[int, str], float], day: Date | None = None
    ) -> None:
        columns = {
            "customer_key": pa.array([key for key, _ in scores], pa.int64()),
            "org_id": ["G01"] * len(scores),
            "product_id": [product for _, product in scores],
            "rank": pa.array([1] * len(scores), pa.int16()),
            "score": pa.array(list(scores.values()), pa.float32()),
        }
        self._write(f"matrix {matrix_id}", columns)
        made = stamp(datetime(2026, 9, 30, 1, len(self.matrices.messages), tzinfo=UTC))
        day = day or Date(year=2026, month=9, day=30)
        await self.matrices.tell(recommend.Matrix(matrix_id=matrix_id, create_time=made, as_of_date=day))

    async def consent(
        self,
        customers: Sequence[int],
        *,
        channels: Sequence[str] = ("sms", "call", "app"),
        granted: bool = True,
        at: datetime = CONSENT_TIME,
    ) -> None:
        for channel in channels:
            told = {"channel": channel, "purpose": "marketing", "granted": "Y" if granted else "N"}
            await self.tell(*[("consent.changed", key, at, told) for key in customers])

    async def tell(self, *events: tuple[str, int, datetime, Mapping[str, str]]) -> None:
        made: list[ingest.Event] = []
        for kind, customer_key, moment, attributes in events:
            event = ingest.Event(
                event_id=f"e{len(self.events.messages) + len(made)}",
                source="feed",
                type=kind,
                customer_key=customer_key,
                occur_time=stamp(moment),
                receive_time=stamp(datetime.now(UTC)),
            )
            event.attributes.update(attributes)
            made.append(event)
        await self.events.tell(*made)

    async def WatchEvents(self, request: ingest.WatchEventsRequest, context: Context) -> Any:
        at = int(request.cursor or 0)
        while True:
            part = await self.events.some(at, request.batch_size)
            at += len(part)
            wanted = [event for event in part if event.type.startswith(tuple(request.type_prefixes) or "")]
            yield ingest.WatchEventsResponse(cursor=str(at), events=wanted)

    async def WatchDeliveries(self, request: ingest.WatchDeliveriesRequest, context: Context) -> Any:
        async for cursor, delivery in self.deliveries.after(request.cursor):
            yield ingest.WatchDeliveriesResponse(cursor=cursor, delivery=delivery)

    async def GetSnapshot(self, request: ingest.GetSnapshotRequest, context: Context) -> ingest.GetSnapshotResponse:
        self.asked += 1
        await self.open.wait()
        uri, rows, sha256 = self._files[request.feed_id]
        return ingest.GetSnapshotResponse(files=[ingest.LakeFile(uri=uri, rows=rows, sha256=sha256)], schema_version=1)

    async def RevealIdentities(self, request: ingest.RevealIdentitiesRequest, context: Context) -> Any:
        self.purposes.append(request.purpose)
        known = [key for key in request.customer_keys if key not in self.unknown]
        for at in range(0, len(known), 7):
            if at:
                await self.open.wait()
            if self.breaks_after is not None and at >= self.breaks_after:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            yield ingest.RevealIdentitiesResponse(
                identities=[
                    ingest.RevealIdentitiesResponse.Identity(customer_key=key, msisdn=number(key))
                    for key in known[at : at + 7]
                ]
            )

    async def WatchMatrices(self, request: recommend.WatchMatricesRequest, context: Context) -> Any:
        async for cursor, matrix in self.matrices.after(request.cursor):
            yield recommend.WatchMatricesResponse(cursor=cursor, matrix=matrix)

    async def GetMatrix(self, request: recommend.GetMatrixRequest, context: Context) -> recommend.GetMatrixResponse:
        await self.open.wait()
        uri, rows, sha256 = self._files[f"matrix {request.matrix_id}"]
        return recommend.GetMatrixResponse(
            files=[recommend.MatrixFile(uri=uri, rows=rows, sha256=sha256)], schema_version=1
        )

    def _write(self, name: str, columns: dict[str, Any]) -> None:
        path = self.folder / f"{name}.parquet"
        table = pa.table(columns)
        pq.write_table(table, path, compression="zstd")
        self._files[name] = (path.as_uri(), table.num_rows, hashlib.sha256(path.read_bytes()).hexdigest())


@contextlib.asynccontextmanager
async def playing(folder: Path) -> AsyncIterator[Town]:
    """The town on a port of its own."""
    town = Town(folder)  # type: ignore[abstract]  # the other methods answer UNIMPLEMENTED
    server = grpc.aio.server()
    ingest.add_IngestServiceServicer_to_server(town, server)
    recommend.add_RecommendServiceServicer_to_server(town, server)
    town.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield town
    finally:
        await server.stop(0)
