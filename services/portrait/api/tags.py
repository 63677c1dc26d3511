"""The RPCs of tags as data, and of runs."""

import json
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from lifecircle.portrait import v1
from services.kit import idempotency, paging
from services.kit.errors import bad_page_token
from services.kit.interceptors import caller
from services.portrait.api import translate
from services.portrait.domain.review import Review
from services.portrait.domain.tag import Catalogue, Tag
from services.portrait.domain.tag.describe import lineage_of, places_of, track_of
from services.portrait.store.tags import TagVersion
from services.portrait.usecases.reviews import ReviewDesk
from services.portrait.usecases.tags import Count, TagDesk

Context = grpc.aio.ServicerContext[Any, Any]
_LONGEST = 15
"""Digits of a position: no list has more rows."""


class TagRpcs:
    """What PortraitApi answers about tags and runs."""

    _tags: TagDesk
    _reviews: ReviewDesk

    async def ListReviews(self, request: v1.ListReviewsRequest, context: Context) -> v1.ListReviewsResponse:
        """A page of what is in force, that which is due first."""
        of, size = f"ListReviews {request.overdue}", paging.clamp(request.page_size)
        skip = position(request.page_token, of) or 0
        found, today = await self._reviews.page(skip, size, overdue=request.overdue)
        token = translate.next_token(of, str(skip + size), len(found) == size)
        return v1.ListReviewsResponse(reviews=[_review(each, today) for each in found], next_page_token=token)

    async def GetTag(self, request: v1.GetTagRequest, context: Context) -> v1.GetTagResponse:
        """One tag in full."""
        tag, catalogue, customers, made = await self._tags.get(request.code)
        return v1.GetTagResponse(tag=full(tag, catalogue, customers), version=_version(made) if made else None)

    async def CreateTagVersion(
        self, request: v1.CreateTagVersionRequest, context: Context
    ) -> v1.CreateTagVersionResponse:
        """A version in review."""
        key = idempotency.key_of(request, context)
        made = await self._tags.create(request.definition, caller().subject, request.note, key)
        return v1.CreateTagVersionResponse(version=_version(made))

    async def ApproveTagVersion(
        self, request: v1.ApproveTagVersionRequest, context: Context
    ) -> v1.ApproveTagVersionResponse:
        """An approval of one aspect."""
        key = idempotency.key_of(request, context)
        aspect = v1.TagApproval.Aspect.Name(request.aspect).removeprefix("ASPECT_")
        who = caller().subject
        made = await self._tags.approve(request.code, request.version, aspect, who, request.note, key)
        return v1.ApproveTagVersionResponse(version=_version(made))

    async def PublishTagVersion(
        self, request: v1.PublishTagVersionRequest, context: Context
    ) -> v1.PublishTagVersionResponse:
        """A version in force."""
        key = idempotency.key_of(request, context)
        return v1.PublishTagVersionResponse(
            version=_version(await self._tags.publish(request.code, request.version, key))
        )

    async def RetireTag(self, request: v1.RetireTagRequest, context: Context) -> v1.RetireTagResponse:
        """A tag given up."""
        key = idempotency.key_of(request, context)
        gone = await self._tags.retire(request.code, caller().subject, request.note, key)
        return v1.RetireTagResponse(version=_version(gone))

    async def ListTagVersions(self, request: v1.ListTagVersionsRequest, context: Context) -> v1.ListTagVersionsResponse:
        """A page of versions."""
        of, size = f"ListTagVersions {request.code}", paging.clamp(request.page_size)
        before = position(request.page_token, of)
        found = await self._tags.versions(request.code, before, size)
        token = translate.next_token(of, str(found[-1].version) if found else "", len(found) == size)
        return v1.ListTagVersionsResponse(versions=map(_version, found), next_page_token=token)

    async def CountTag(self, request: v1.CountTagRequest, context: Context) -> v1.CountTagResponse:
        """A trial of a definition."""
        counts, customers, run_id, within = await self._tags.count(request.definition)
        return v1.CountTagResponse(
            counts=map(_count, counts), base_customers=customers, run_id=run_id, within_expectation=within
        )

    async def ListTagHistory(self, request: v1.ListTagHistoryRequest, context: Context) -> v1.ListTagHistoryResponse:
        """What a customer was tagged, audited."""
        of, size = f"ListTagHistory {request.customer_key}", paging.clamp(request.page_size)
        after = position(request.page_token, of) or 0
        day = translate.day(request.as_of_date, "as_of_date") if request.HasField("as_of_date") else None
        told, ground = await self._tags.history(request.customer_key, request.purpose, caller().subject, day)
        page = told[after : after + size]
        token = translate.token_within(ground, request.page_token, of, str(after + size), len(page) == size)
        tags = [
            v1.TagPast(run_id=run.run_id, to_date=translate.to_date(run.to_date), tag=translate.tag_value(tag))
            for run, tag in page
        ]
        return v1.ListTagHistoryResponse(tags=tags, next_page_token=token)

    async def ListRuns(self, request: v1.ListRunsRequest, context: Context) -> v1.ListRunsResponse:
        """A page of runs."""
        size = paging.clamp(request.page_size)
        found = await self._tags.runs(position(request.page_token, "ListRuns"), size)
        token = translate.next_token("ListRuns", str(found[-1][0]) if found else "", len(found) == size)
        return v1.ListRunsResponse(runs=[translate.run(run) for _, run in found], next_page_token=token)

    async def ReleaseRun(self, request: v1.ReleaseRunRequest, context: Context) -> v1.ReleaseRunResponse:
        """A held run that readers see now."""
        key = idempotency.key_of(request, context)
        return v1.ReleaseRunResponse(run=translate.run(await self._tags.release(request.run_id, key)))


def position(token: str, of: str) -> int | None:
    """The whole number that a page token holds, None for the first page. Raises bad_page_token."""
    told = translate.page_after(token, of)
    if told and not (told.isdecimal() and len(told) <= _LONGEST):
        raise bad_page_token()
    return int(told) if told else None


def full(tag: Tag, catalogue: Catalogue, customers: int) -> v1.Tag:
    """A definition with all that is told of it."""
    low, high = tag.expect or (0.0, 0.0)
    by_code = {each.code: each for each in catalogue.tags}
    message = translate.tag(tag, customers)
    about = v1.Tag(
        english_name=tag.english, category=tag.category, level2=tag.level2, level3=tag.level3, owner=tag.owner,
        refresh=tag.refresh, ttl_days=tag.ttl_days, hysteresis=tag.hysteresis, approval=tag.approval,
        expect_low=low, expect_high=high, places=places_of(tag), track=track_of(tag, by_code),
        lineage=lineage_of(tag), hints=tag.hint,
    )  # fmt: skip
    message.MergeFrom(about)
    return message


def stamp(known: datetime) -> Timestamp:
    """An instant as a message."""
    message = Timestamp()
    message.FromDatetime(known)
    return message


def _version(known: TagVersion) -> v1.TagVersion:
    return v1.TagVersion(
        code=known.code,
        version=known.version,
        state=v1.TagVersion.State.Value(f"STATE_{known.state}"),
        definition=json.dumps(known.definition, ensure_ascii=False, sort_keys=True),
        author=known.author,
        note=known.note,
        approvals=_approvals(known),
        create_time=stamp(known.create_time),
    )


def _approvals(known: TagVersion) -> Sequence[v1.TagApproval]:
    return [
        v1.TagApproval(
            aspect=v1.TagApproval.Aspect.Value(f"ASPECT_{each.aspect}"),
            approver=each.approver,
            note=each.note,
            time=stamp(each.time),
        )
        for each in known.approvals
    ]


def _count(known: Count) -> v1.TagCount:
    return v1.TagCount(
        value=known.value,
        customers=known.customers,
        live_customers=known.live_customers,
        gained=known.gained,
        lost=known.lost,
    )


def _review(known: Review, today: date) -> v1.Review:
    return v1.Review(
        kind=v1.Review.Kind.Value(f"KIND_{known.kind}"),
        name=known.name,
        version=known.version,
        last_date=translate.to_date(known.last),
        due_date=translate.to_date(known.due),
        overdue=known.overdue(today),
    )
