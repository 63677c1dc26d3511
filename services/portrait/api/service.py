"""PortraitService, method by method."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc.aio

from lifecircle.portrait import v1
from services.kit import idempotency, paging
from services.kit.errors import bad_page_token
from services.kit.interceptors import caller, current
from services.kit.server import bytes_method
from services.portrait.api import translate
from services.portrait.api.audiences import SEES_ALL, AudienceRpcs
from services.portrait.api.city import CityRpcs
from services.portrait.api.latent import LatentRpcs
from services.portrait.api.moments import MomentRpcs
from services.portrait.api.portrait import merged, visible
from services.portrait.api.reports import RIGHTS as REPORT_RIGHTS
from services.portrait.api.reports import ReportRpcs
from services.portrait.api.segments import SegmentRpcs
from services.portrait.api.tags import TagRpcs, position
from services.portrait.domain.run import SCHEMA_VERSION
from services.portrait.refusals import customer_not_found
from services.portrait.usecases import (
    AudienceDesk,
    CityDesk,
    Journeys,
    MomentDesk,
    Plans,
    Reading,
    ReportDesk,
    TagDesk,
)
from services.portrait.usecases.latent import LatentDesk
from services.portrait.usecases.reviews import ReviewDesk
from services.portrait.usecases.segments import SegmentDesk
from services.portrait.usecases.timing import TimingDesk

Context = grpc.aio.ServicerContext[Any, Any]

_READ = frozenset({"viewer", "operator", "service"})
_WRITE = frozenset({"operator", "service"})
_SEES_ONE = frozenset({"operator", "privacy"})

RIGHTS: Mapping[str, frozenset[str]] = {
    "GetPortrait": _READ,
    "BatchGetPortraits": _READ,
    "ListDwell": frozenset({"operator", "privacy"}),
    "ListTags": _READ,
    "GetTag": _READ,
    "CreateTagVersion": _WRITE,
    "ApproveTagVersion": _WRITE,
    "PublishTagVersion": _WRITE,
    "RetireTag": _WRITE,
    "ListTagVersions": _READ,
    "CountTag": _WRITE,
    "ListTagHistory": _SEES_ONE,
    "ListReviews": _READ,
    "ListRuns": _READ,
    "ReleaseRun": _WRITE,
    "ListTrack": _SEES_ONE,
    "ListDwellAreas": _READ,
    "GetCrowd": _READ,
    "BatchGetContactTimes": _WRITE,
    "ListPlaceClasses": _READ,
    "ListPlaceTasks": _READ,
    "ClassifyPlace": _WRITE,
    "ListPlaceVersions": _READ,
    "ListFeatures": _READ,
    "ListJourney": frozenset({"operator", "privacy"}),
    "CountAudience": _READ,
    "UpdateAudience": _WRITE,
    "GetAudience": _READ,
    "ListAudiences": _READ,
    "FreezeAudience": _WRITE,
    "ListAudienceMembers": _READ,
    "ExportAudience": _WRITE,
    "GetAudienceProfile": _READ,
    "GetAudienceOverlap": _READ,
    "UpdateCustomerList": _WRITE,
    "ListCustomerLists": _READ,
    "CreateMomentRule": _WRITE,
    "PublishMomentRule": _WRITE,
    "RetireMomentRule": _WRITE,
    "GetMomentRule": _READ,
    "ListMomentRules": _READ,
    "ExplainMomentRule": _READ,
    "CountMoments": _WRITE,
    "ExplainMoment": frozenset({"operator", "privacy"}),
    "ListMoments": _READ,
    "WatchMoments": _READ,
    "CreateJob": _WRITE,
    "GetJob": _READ,
    "ListJobs": _READ,
    "CancelJob": _WRITE,
    "WatchRuns": _READ,
    "GetSnapshot": _READ,
    **REPORT_RIGHTS,
    "CreateSegmentation": _WRITE,
    "GetSegmentation": _READ,
    "ListSegmentations": _READ,
    "UpdateSegment": _WRITE,
    "ListSegmentMembers": _READ,
    "ListOpportunities": _READ,
    "LabelCustomers": _WRITE,
    "ListDisagreements": _SEES_ONE,
    "CreateLatentModel": _WRITE,
    "GetLatentModel": _READ,
    "ListLatentModels": _READ,
    "ApproveLatentModel": _WRITE,
    "GetLatentValues": _READ,
    "ListWarnings": _READ,
    "GetChurnValueMatrix": _READ,
}
"""Method → roles that may call it."""


class PortraitApi(
    AudienceRpcs, CityRpcs, LatentRpcs, MomentRpcs, ReportRpcs, SegmentRpcs, TagRpcs, v1.PortraitServiceServicer
):
    """The servicer; `stop` ends the streams when the process stops."""

    def __init__(
        self,
        reading: Reading,
        plans: Plans,
        audience_desk: AudienceDesk,
        moment_desk: MomentDesk,
        journeys: Journeys,
        tag_desk: TagDesk,
        city_desk: CityDesk,
        report_desk: ReportDesk,
        stop: asyncio.Event,
        segment_desk: SegmentDesk | None = None,
        latent_desk: LatentDesk | None = None,
        timing_desk: TimingDesk | None = None,
        review_desk: ReviewDesk | None = None,
    ) -> None:
        self._reading = reading
        self._plans = plans
        self._audiences = audience_desk
        self._moments = moment_desk
        self._journeys = journeys
        self._tags = tag_desk
        self._city = city_desk
        self._reports = report_desk
        self._stop = stop
        if segment_desk is not None:
            self._segments = segment_desk
        if latent_desk is not None:
            self._latent = latent_desk
        if timing_desk is not None:
            self._timing = timing_desk
        if review_desk is not None:
            self._reviews = review_desk

    @bytes_method
    async def GetPortrait(  # type: ignore[override]  # the stored answer goes out as it is
        self, request: v1.GetPortraitRequest, context: Context
    ) -> bytes:
        """One customer's portrait; from the pack it is answered without a pause."""
        call, key = current(), request.customer_key
        who = call.caller
        clear = not SEES_ALL.isdisjoint(who.roles)
        answer = self._reading.mapped(key, clear) or await self._reading.portrait(key, clear)
        if who.domain is not None and not visible(answer, who):
            raise customer_not_found(key)
        # Envoy's transcoder takes no parts that merge.
        return merged(answer) if call.transcoded else answer

    @bytes_method
    async def BatchGetPortraits(  # type: ignore[override]  # stored answers one after the other are the batch's answer
        self, request: v1.BatchGetPortraitsRequest, context: Context
    ) -> bytes:
        """Some customers' portraits."""
        who = caller()
        answers = await self._reading.portraits(request.customer_keys, not SEES_ALL.isdisjoint(who.roles))
        return b"".join(merged(answer) for answer in answers if visible(answer, who))

    async def ListDwell(self, request: v1.ListDwellRequest, context: Context) -> v1.ListDwellResponse:
        """A page of one customer's dwell, audited."""
        of, size = f"ListDwell {request.customer_key}", paging.clamp(request.page_size)
        after, who = position(request.page_token, of) or 0, caller().subject
        lines, run_id = await self._reading.dwell(request.customer_key, request.purpose, who, after, size)
        token = translate.token_within(run_id, request.page_token, of, str(after + size), len(lines) == size)
        return v1.ListDwellResponse(lines=map(translate.dwell_line, lines), next_page_token=token)

    async def ListTags(self, request: v1.ListTagsRequest, context: Context) -> v1.ListTagsResponse:
        """A page of the catalogue."""
        of, size = "ListTags", paging.clamp(request.page_size)
        found, run_id = await self._reading.tags(translate.page_after(request.page_token, of), size)
        last = found[-1][0].code if found else ""
        token = translate.token_within(run_id, request.page_token, of, last, len(found) == size)
        return v1.ListTagsResponse(tags=[translate.tag(tag, count) for tag, count in found], next_page_token=token)

    async def ListJourney(self, request: v1.ListJourneyRequest, context: Context) -> v1.ListJourneyResponse:
        """A page of a customer's journey, audited."""
        of, size = f"ListJourney {request.customer_key}", paging.clamp(request.page_size)
        place = translate.page_after(request.page_token, of)
        time, _, event_id = place.partition(" ")
        if place and not time.isdecimal():
            raise bad_page_token()
        before = (int(time), event_id) if place else None
        stages = [v1.JourneyStep.Stage.Name(each).removeprefix("STAGE_") for each in request.stages]
        who, purpose = caller().subject, request.purpose
        steps = await self._journeys.page(request.customer_key, purpose, who, before, size, stages)
        last = f"{steps[-1].time} {steps[-1].event_id}" if steps else ""
        token = translate.next_token(of, last, len(steps) == size)
        return v1.ListJourneyResponse(steps=map(translate.step, steps), next_page_token=token)

    async def CreateJob(self, request: v1.CreateJobRequest, context: Context) -> v1.CreateJobResponse:
        """Queue a computation."""
        key = idempotency.key_of(request, context)
        first = translate.day(request.compute.from_date, "compute.from_date")
        last = translate.day(request.compute.to_date, "compute.to_date")
        return v1.CreateJobResponse(job=translate.job(await self._plans.create(first, last, key)))

    async def GetJob(self, request: v1.GetJobRequest, context: Context) -> v1.GetJobResponse:
        """One job."""
        return v1.GetJobResponse(job=translate.job(await self._plans.get(request.job_id)))

    async def ListJobs(self, request: v1.ListJobsRequest, context: Context) -> v1.ListJobsResponse:
        """Jobs, the newest first."""
        size = paging.clamp(request.page_size)
        after = translate.page_after(request.page_token, "ListJobs") or None
        found = await self._plans.page(after, size)
        token = translate.next_token("ListJobs", found[-1].job_id if found else "", len(found) == size)
        return v1.ListJobsResponse(jobs=map(translate.job, found), next_page_token=token)

    async def CancelJob(self, request: v1.CancelJobRequest, context: Context) -> v1.CancelJobResponse:
        """Ask a job to stop."""
        key = idempotency.key_of(request, context)
        return v1.CancelJobResponse(job=translate.job(await self._plans.cancel(request.job_id, key)))

    async def WatchRuns(self, request: v1.WatchRunsRequest, context: Context) -> AsyncIterator[v1.WatchRunsResponse]:
        """Published runs in commit order."""
        async for seen in self._reading.watch(request.cursor, self._stop):
            run = translate.run(seen.run) if seen.run else None
            yield v1.WatchRunsResponse(cursor=seen.cursor, run=run, traceparent=seen.traceparent)

    async def GetSnapshot(self, request: v1.GetSnapshotRequest, context: Context) -> v1.GetSnapshotResponse:
        """The files of one table of a run."""
        run, files = await self._reading.snapshot(request.run_id, request.table)
        return v1.GetSnapshotResponse(
            run=translate.run(run), files=map(translate.file, files), schema_version=SCHEMA_VERSION
        )
