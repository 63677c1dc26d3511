"""The RPCs of segments."""

from collections.abc import Mapping
from typing import Any

import grpc.aio

from lifecircle.portrait import v1
from services.kit import idempotency, paging
from services.kit.interceptors import caller
from services.portrait.api import translate
from services.portrait.api.tags import position, stamp
from services.portrait.store.segments import Segmentation
from services.portrait.usecases.segments import SegmentDesk

Context = grpc.aio.ServicerContext[Any, Any]


class SegmentRpcs:
    """What PortraitApi answers about segments."""

    _segments: SegmentDesk

    async def CreateSegmentation(
        self, request: v1.CreateSegmentationRequest, context: Context
    ) -> v1.CreateSegmentationResponse:
        """Queue a clustering."""
        key = idempotency.key_of(request, context)
        job = await self._segments.create(request.run_id, request.segments, request.features, key)
        return v1.CreateSegmentationResponse(job=translate.job(job))

    async def GetSegmentation(self, request: v1.GetSegmentationRequest, context: Context) -> v1.GetSegmentationResponse:
        """A segmentation in full."""
        found = await self._segments.get(request.segmentation_id)
        return v1.GetSegmentationResponse(segmentation=_segmentation(found, whole=True))

    async def ListSegmentations(
        self, request: v1.ListSegmentationsRequest, context: Context
    ) -> v1.ListSegmentationsResponse:
        """A page of segmentations."""
        size = paging.clamp(request.page_size)
        found = await self._segments.page(translate.page_after(request.page_token, "ListSegmentations"), size)
        token = translate.next_token(
            "ListSegmentations", found[-1].segmentation_id if found else "", len(found) == size
        )
        return v1.ListSegmentationsResponse(
            segmentations=[_segmentation(each, whole=False) for each in found], next_page_token=token
        )

    async def UpdateSegment(self, request: v1.UpdateSegmentRequest, context: Context) -> v1.UpdateSegmentResponse:
        """A name given by hand."""
        key = idempotency.key_of(request, context)
        named = await self._segments.rename(request.segment_id, request.name, caller().subject, key)
        return v1.UpdateSegmentResponse(segment=v1.Segment(**named))

    async def ListSegmentMembers(
        self, request: v1.ListSegmentMembersRequest, context: Context
    ) -> v1.ListSegmentMembersResponse:
        """A page of members."""
        of, size = f"ListSegmentMembers {request.segmentation_id} {request.segment_id}", paging.clamp(request.page_size)
        after = position(request.page_token, of) or 0
        keys, ground = await self._segments.members(request.segmentation_id, request.segment_id, after, size)
        last = str(keys[-1]) if keys else ""
        token = translate.token_within(ground, request.page_token, of, last, len(keys) == size)
        return v1.ListSegmentMembersResponse(customer_keys=keys, next_page_token=token)

    async def ListOpportunities(
        self, request: v1.ListOpportunitiesRequest, context: Context
    ) -> v1.ListOpportunitiesResponse:
        """A page of gaps."""
        of, size = f"ListOpportunities {request.segmentation_id} {request.brand}", paging.clamp(request.page_size)
        skip = position(request.page_token, of) or 0
        found, ground = await self._segments.opportunities(request.segmentation_id, request.brand, skip, size)
        token = translate.token_within(ground, request.page_token, of, str(skip + size), len(found) == size)
        return v1.ListOpportunitiesResponse(
            opportunities=[v1.Opportunity(**each) for each in found], next_page_token=token
        )


def _segmentation(known: Segmentation, *, whole: bool) -> v1.Segmentation:
    segments: list[Mapping[str, Any]] = list(known.segments) if whole else []
    return v1.Segmentation(
        segmentation_id=known.segmentation_id,
        run_id=known.run_id,
        to_date=translate.to_date(known.to_date),
        features=known.features,
        brands=[v1.BrandSegmentation(**each) for each in known.brands],
        segments=[v1.Segment(**each) for each in segments],
        create_time=stamp(known.create_time),
    )
