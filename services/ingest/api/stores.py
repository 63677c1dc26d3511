"""The methods about the layers: snapshots, lineage, upkeep."""

from collections.abc import Callable
from typing import Any, TypeAlias

import grpc.aio

from lifecircle.ingest import v1
from services.ingest.api import translate
from services.ingest.usecases import Editing, Layers, Upkeep
from services.ingest.usecases.upkeep import COMPACT, ROLL_OFF
from services.kit import idempotency, paging
from services.kit.interceptors import caller

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_KINDS = {v1.StartUpkeepRequest.KIND_ROLL_OFF: ROLL_OFF, v1.StartUpkeepRequest.KIND_COMPACT: COMPACT}


class StoresApi(v1.IngestServiceServicer):
    """A part of the servicer."""

    _layers: Layers
    _upkeep: Upkeep
    _editing: Editing
    _uri: Callable[[str], str]

    async def GetSnapshot(self, request: v1.GetSnapshotRequest, context: Context) -> v1.GetSnapshotResponse:
        """The lake's files of one feed over a span of periods."""
        since = translate.day(request.from_date, "from_date") if request.HasField("from_date") else None
        until = translate.day(request.to_date, "to_date") if request.HasField("to_date") else None
        landed, lease = request.layer == v1.LAYER_LANDED, request.lease.ToTimedelta()
        found = await self._layers.snapshot(
            request.feed_id, since, until, landed=landed, lease=lease, holder=caller().subject
        )
        files = [translate.lake_file(file, self._uri, found.parts.get(file.path, ())) for file in found.snapshot.files]
        version = found.snapshot.schema_version
        return v1.GetSnapshotResponse(files=files, schema_version=version, lease_id=found.lease_id)

    async def ReleaseSnapshot(self, request: v1.ReleaseSnapshotRequest, context: Context) -> v1.ReleaseSnapshotResponse:
        """A reader is done."""
        await self._layers.release(translate.plain(request.lease_id, "lease_id"))
        return v1.ReleaseSnapshotResponse()

    async def GetLineage(self, request: v1.GetLineageRequest, context: Context) -> v1.GetLineageResponse:
        """Where a conformed row came from."""
        period = translate.day(request.period, "period")
        found = await self._layers.lineage(request.feed_id, period, request.line, request.customer_key)
        return v1.GetLineageResponse(origins=[translate.origin(each, self._uri) for each in found])

    async def ListRows(self, request: v1.ListRowsRequest, context: Context) -> v1.ListRowsResponse:
        """Rows of a delivery as its file says them."""
        size = paging.clamp(request.page_size)
        after = translate.page_after(request.page_token, "ListRows", int) or 0
        of = translate.plain(request.delivery_id, "delivery_id")
        found = await self._editing.rows(of, after=after, size=size)
        token = translate.next_page("ListRows", found, size, lambda each: int(each[0]))
        rows = [v1.FileRow(line=int(values.pop("line")), values=values) for _, values in found]
        return v1.ListRowsResponse(rows=rows, next_page_token=token)

    async def EditRows(self, request: v1.EditRowsRequest, context: Context) -> v1.EditRowsResponse:
        """Deliver a file anew with rows put and removed."""
        key = idempotency.key_of(request, context)
        of, why = translate.plain(request.delivery_id, "delivery_id"), translate.plain(request.reason, "reason")
        puts, removes = [dict(row.values) for row in request.puts], [dict(row.values) for row in request.removes]
        return v1.EditRowsResponse(
            delivery=translate.delivery(await self._editing.edit(of, puts, removes, key, reason=why))
        )

    async def StartUpkeep(self, request: v1.StartUpkeepRequest, context: Context) -> v1.StartUpkeepResponse:
        """Make a job of upkeep."""
        job_id = await self._upkeep.start(_KINDS[request.kind], idempotency.key_of(request, context))
        return v1.StartUpkeepResponse(job_id=job_id)
