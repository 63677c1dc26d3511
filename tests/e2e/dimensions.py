"""The six dimensions of looking at data services, each asked for by its own method, of one running platform."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from lifecircle import Lifecircle, items
from lifecircle.portrait.v1 import (
    AudienceExpression,
    CreateSegmentationRequest,
    GetAudienceProfileRequest,
    GetJobRequest,
    GetReportRequest,
    GetSegmentationRequest,
    Job,
    ListAudienceMembersRequest,
    ListSegmentMembersRequest,
    ListWarningsRequest,
    Segmentation,
)
from lifecircle.recommend.v1 import ListAssociationsRequest, RecommendRequest

_PATIENCE = 240


@dataclass(frozen=True)
class Seen:
    """By dimension whether one and the same customer is in it, and the run that it was made of where it tells one."""

    customer_key: int
    there: Mapping[str, bool]
    runs: Mapping[str, str]


async def segmented(platform: Lifecircle) -> Segmentation:
    """A segmentation of the current run, when its job is done."""
    made = await platform.portrait.CreateSegmentation(CreateSegmentationRequest(request_id="dimensions"))
    async with asyncio.timeout(_PATIENCE):
        job = made.job
        while job.state in (Job.STATE_QUEUED, Job.STATE_RUNNING):
            await asyncio.sleep(0.2)
            job = (await platform.portrait.GetJob(GetJobRequest(job_id=job.job_id))).job
    assert job.state == Job.STATE_SUCCEEDED, job.message
    return (await platform.portrait.GetSegmentation(GetSegmentationRequest(segmentation_id=job.job_id))).segmentation


async def warned(platform: Lifecircle) -> set[int]:
    """Who is warned of, once the run was scored."""
    async with asyncio.timeout(_PATIENCE):
        while not (found := {each.customer_key async for each in items(platform.portrait.ListWarnings, _ALL)}):
            await asyncio.sleep(0.2)
    return found


_ALL = ListWarningsRequest(page_size=1000)


async def of_one_customer(platform: Lifecircle) -> Seen:
    """Asks for all six, and looks for one customer who is warned of in each."""
    made, in_danger = await segmented(platform), await warned(platform)
    members = {
        each.segment_id: {
            key
            async for key in items(platform.portrait.ListSegmentMembers, ListSegmentMembersRequest(
                segmentation_id=made.segmentation_id, segment_id=each.segment_id, page_size=1000))
        }
        for each in made.segments
    }  # fmt: skip
    segment = max(members, key=lambda each: len(members[each] & in_danger))
    key = min(members[segment] & in_danger)
    target = ListAudienceMembersRequest(text=f"SEGMENT '{segment}'", page_size=1000)
    locked = {each.customer_key async for each in items(platform.portrait.ListAudienceMembers, target)}
    theme = (await platform.portrait.GetReport(GetReportRequest(report_id="theme_active"))).report
    music = AudienceExpression(tag=AudienceExpression.TagIs(code="SP01"))
    others = AudienceExpression()
    getattr(others, "not").CopyFrom(music)
    asked = GetAudienceProfileRequest(expression=music, base=others)
    users = await platform.portrait.GetAudienceProfile(asked)
    together = (await platform.recommend.ListAssociations(ListAssociationsRequest(page_size=1000))).associations
    products = {each.right_product_id for each in together}
    offered = (await platform.recommend.Recommend(RecommendRequest(customer_key=key))).recommendations
    return Seen(
        key,
        {
            "segmentation": any(key in each for each in members.values()),
            "theme analysis": any(table.rows for table in theme.tables),
            "product association": bool(products & {each.product_id for each in offered}),
            "target locking": key in locked and locked == members[segment],
            "service-feature analysis": users.customers + users.base_customers >= len(locked) and bool(users.lines),
            "customer warning": key in in_danger,
        },
        {"segmentation": made.run_id, "theme analysis": theme.run_id, "service-feature analysis": users.run_id},
    )
