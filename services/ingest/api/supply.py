"""IngestService, the part that watches suppliers and helps them: health, alarms, reports, uploads, replays, jobs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc.aio

from lifecircle.ingest import v1
from services.ingest.api import supplied, translate
from services.ingest.usecases import Replays, Supply, Uploads, Work
from services.kit import idempotency, paging
from services.kit.interceptors import caller

Context = grpc.aio.ServicerContext[Any, Any]

_READ = frozenset({"viewer", "operator", "service"})
_WRITE = frozenset({"operator", "service"})
_OPERATE = frozenset({"operator"})

RIGHTS: Mapping[str, frozenset[str]] = {
    "ListFeedHealth": _READ,
    "ListAlarms": _READ,
    "GetSlaReport": _READ,
    "ReplayRejects": _OPERATE,
    "CreateUpload": _WRITE,
    "AppendUpload": _WRITE,
    "CommitUpload": _WRITE,
    "GetJob": _READ,
    "ListJobs": _READ,
    "CancelJob": _OPERATE,
}


@dataclass(frozen=True)
class Supplying:
    """The use cases of this part."""

    supply: Supply
    uploads: Uploads
    replays: Replays
    work: Work


class SupplyApi(v1.IngestServiceServicer):
    """One half of the servicer; `service.IngestApi` is the whole of it."""

    def __init__(self, cases: Supplying) -> None:
        self._supplying = cases

    async def ListFeedHealth(self, request: v1.ListFeedHealthRequest, context: Context) -> v1.ListFeedHealthResponse:
        """How every feed is doing."""
        size = paging.clamp(request.page_size)
        after = translate.page_after(request.page_token, "ListFeedHealth", str)
        found = await self._supplying.supply.health(after or "", size)
        token = translate.next_page("ListFeedHealth", found, size, lambda each: str(each.counts.feed_id))
        return v1.ListFeedHealthResponse(feeds=map(supplied.health, found), next_page_token=token)

    async def ListAlarms(self, request: v1.ListAlarmsRequest, context: Context) -> v1.ListAlarmsResponse:
        """Alarms, the latest raised first."""
        size = paging.clamp(request.page_size)
        before = translate.page_after(request.page_token, "ListAlarms", int)
        feed_id = translate.plain(request.feed_id, "feed_id")
        found = await self._supplying.supply.alarms(
            feed_id=feed_id, open_only=request.open_only, before=before, size=size
        )
        token = translate.next_page("ListAlarms", found, size, lambda each: int(each.alarm_no))
        return v1.ListAlarmsResponse(alarms=map(supplied.alarm, found), next_page_token=token)

    async def GetSlaReport(self, request: v1.GetSlaReportRequest, context: Context) -> v1.GetSlaReportResponse:
        """Timeliness, integrity and stability of every feed."""
        since = translate.day(request.from_date, "from_date")
        until = translate.day(request.to_date, "to_date")
        return v1.GetSlaReportResponse(feeds=map(supplied.sla, await self._supplying.supply.sla(since, until)))

    async def ReplayRejects(self, request: v1.ReplayRejectsRequest, context: Context) -> v1.ReplayRejectsResponse:
        """Send rejected rows again."""
        key = idempotency.key_of(request, context)
        rows = {each.line: each.row for each in request.corrections}
        of = translate.plain(request.delivery_id, "delivery_id")
        made = await self._supplying.replays.replay(of, list(request.lines), rows, key, all_=request.all)
        return v1.ReplayRejectsResponse(delivery=translate.delivery(made))

    async def CreateUpload(self, request: v1.CreateUploadRequest, context: Context) -> v1.CreateUploadResponse:
        """Begin to send a file."""
        key = idempotency.key_of(request, context)
        name = translate.plain(request.file_name, "file_name")
        return v1.CreateUploadResponse(
            upload=supplied.upload(await self._supplying.uploads.create(name, caller().subject, key))
        )

    async def AppendUpload(self, request: v1.AppendUploadRequest, context: Context) -> v1.AppendUploadResponse:
        """Send a part."""
        upload_id = translate.plain(request.upload_id, "upload_id")
        found = await self._supplying.uploads.append(upload_id, request.offset, request.data, caller().subject)
        return v1.AppendUploadResponse(upload=supplied.upload(found))

    async def CommitUpload(self, request: v1.CommitUploadRequest, context: Context) -> v1.CommitUploadResponse:
        """Put it into the landing folder."""
        key = idempotency.key_of(request, context)
        upload_id = translate.plain(request.upload_id, "upload_id")
        found = await self._supplying.uploads.commit(upload_id, request.control, caller().subject, key)
        return v1.CommitUploadResponse(upload=supplied.upload(found))

    async def GetJob(self, request: v1.GetJobRequest, context: Context) -> v1.GetJobResponse:
        """One job."""
        found = await self._supplying.work.get(translate.plain(request.job_id, "job_id"))
        return v1.GetJobResponse(job=supplied.job(found))

    async def ListJobs(self, request: v1.ListJobsRequest, context: Context) -> v1.ListJobsResponse:
        """Jobs, the latest first."""
        size = paging.clamp(request.page_size)
        after = translate.page_after(request.page_token, "ListJobs", str)
        kind = translate.plain(request.kind, "kind")
        found = await self._supplying.work.page(kind=kind, after=after, size=size)
        token = translate.next_page("ListJobs", found, size, lambda each: str(each.job_id))
        return v1.ListJobsResponse(jobs=map(supplied.job, found), next_page_token=token)

    async def CancelJob(self, request: v1.CancelJobRequest, context: Context) -> v1.CancelJobResponse:
        """Stop a job."""
        key = idempotency.key_of(request, context)
        stopped = await self._supplying.work.cancel(translate.plain(request.job_id, "job_id"), key)
        return v1.CancelJobResponse(job=supplied.job(stopped))
