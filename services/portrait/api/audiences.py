"""The RPCs of audiences."""

import hashlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import grpc.aio
import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from lifecircle.portrait import v1
from services.kit import idempotency, paging
from services.kit.interceptors import caller
from services.portrait.api import translate
from services.portrait.api.tags import position
from services.portrait.domain import audience as ast
from services.portrait.store.audiences import CustomerList, FrozenAudience, SavedAudience
from services.portrait.usecases.audiences import Asked, AudienceDesk, Counted

Context = grpc.aio.ServicerContext[Any, Any]
SEES_ALL = frozenset({"operator", "privacy", "service"})
"""Roles that see sensitive tags and the places of anchors."""


class AudienceRpcs:
    """What PortraitApi answers about audiences."""

    _audiences: AudienceDesk

    async def CountAudience(self, request: v1.CountAudienceRequest, context: Context) -> v1.CountAudienceResponse:
        """The size of an audience, and some of it."""
        told = _asked(request)
        if told is None:
            found = await self._audiences.count_tags(
                request.all_of, request.none_of, request.sample_size, sensitive=sees_all()
            )
        else:
            how = {"spread": request.random, "with_parts": request.with_parts, "sensitive": sees_all()}
            found = await self._audiences.count(told, request.sample_size, **how)
        answer = _counted(found)
        answer.all_of.extend(request.all_of)
        answer.none_of.extend(request.none_of)
        return v1.CountAudienceResponse(audience=answer)

    async def UpdateAudience(self, request: v1.UpdateAudienceRequest, context: Context) -> v1.UpdateAudienceResponse:
        """Save an audience, or a new version of one."""
        key = idempotency.key_of(request, context)
        told = _asked(request) or Asked(None, "")
        who, sees = caller().subject, sees_all()
        saved = await self._audiences.save(request.audience_id, request.title, told, who, key, sensitive=sees)
        return v1.UpdateAudienceResponse(audience=_saved(saved))

    async def GetAudience(self, request: v1.GetAudienceRequest, context: Context) -> v1.GetAudienceResponse:
        """A version of a saved audience."""
        return v1.GetAudienceResponse(audience=_saved(await self._audiences.get(request.audience_id, request.version)))

    async def ListAudiences(self, request: v1.ListAudiencesRequest, context: Context) -> v1.ListAudiencesResponse:
        """A page of saved audiences."""
        size = paging.clamp(request.page_size)
        found = await self._audiences.page(translate.page_after(request.page_token, "ListAudiences"), size)
        token = translate.next_token("ListAudiences", found[-1].audience_id if found else "", len(found) == size)
        return v1.ListAudiencesResponse(audiences=map(_saved, found), next_page_token=token)

    async def FreezeAudience(self, request: v1.FreezeAudienceRequest, context: Context) -> v1.FreezeAudienceResponse:
        """Keep who belongs to an audience now."""
        key = idempotency.key_of(request, context)
        told = _asked(request) or Asked(None, "")
        who = caller().subject
        frozen = await self._audiences.freeze(told, request.purpose, who, key, sensitive=sees_all())
        return v1.FreezeAudienceResponse(frozen=_frozen(frozen))

    async def ListAudienceMembers(
        self, request: v1.ListAudienceMembersRequest, context: Context
    ) -> v1.ListAudienceMembersResponse:
        """A page of members by key."""
        of, size = f"ListAudienceMembers {_question(request)}", paging.clamp(request.page_size)
        after = position(request.page_token, of) or 0
        told = _asked(request) or Asked(None, "")
        found = await self._audiences.members(told, after, size, request.with_tags, sees_all())
        last, full = str(found.rows[-1][0]) if found.rows else "", len(found.rows) == size
        token = translate.token_within(found.ground, request.page_token, of, last, full)
        member = v1.ListAudienceMembersResponse.Member
        members = [member(customer_key=key, tags=tags) for key, tags in found.rows]
        return v1.ListAudienceMembersResponse(members=members, next_page_token=token, run_id=found.run_id)

    async def ExportAudience(
        self, request: v1.ExportAudienceRequest, context: Context
    ) -> AsyncIterator[v1.ExportAudienceResponse]:
        """The members as parts of an Arrow IPC stream."""
        told = _asked(request) or Asked(None, "")
        async for arrow, rows, run_id in self._audiences.export(told, request.purpose, caller().subject, sees_all()):
            yield v1.ExportAudienceResponse(arrow=arrow, rows=rows, run_id=run_id)

    async def GetAudienceProfile(
        self, request: v1.GetAudienceProfileRequest, context: Context
    ) -> v1.GetAudienceProfileResponse:
        """How an audience differs from a base."""
        base = expression(request.base) if request.HasField("base") else None
        told = _asked(request) or Asked(None, "")
        size, base_size, lines, run_id = await self._audiences.profile(
            told, base, request.most or 50, sensitive=sees_all()
        )
        return v1.GetAudienceProfileResponse(
            customers=size, base_customers=base_size, run_id=run_id, lines=map(_line, lines)
        )

    async def GetAudienceOverlap(
        self, request: v1.GetAudienceOverlapRequest, context: Context
    ) -> v1.GetAudienceOverlapResponse:
        """How several audiences overlap."""
        told = [expression(each) for each in request.expressions]
        sizes, both, some, every = await self._audiences.overlap(told, sensitive=sees_all())
        overlaps = [_overlap(sizes, left, right, count) for (left, right), count in sorted(both.items())]
        return v1.GetAudienceOverlapResponse(customers=sizes, overlaps=overlaps, any=some, all=every)

    async def UpdateCustomerList(
        self, request: v1.UpdateCustomerListRequest, context: Context
    ) -> v1.UpdateCustomerListResponse:
        """Put a list in the place of an earlier one."""
        key = idempotency.key_of(request, context)
        keys = np.fromiter(request.customer_keys, dtype=np.int64, count=len(request.customer_keys))
        who, list_id = caller().subject, request.list_id
        kept = await self._audiences.put_list(list_id, request.title, keys, request.roaring, who, key)
        return v1.UpdateCustomerListResponse(list=_list(kept))

    async def ListCustomerLists(
        self, request: v1.ListCustomerListsRequest, context: Context
    ) -> v1.ListCustomerListsResponse:
        """A page of lists."""
        size = paging.clamp(request.page_size)
        found = await self._audiences.lists(translate.page_after(request.page_token, "ListCustomerLists"), size)
        token = translate.next_token("ListCustomerLists", found[-1].list_id if found else "", len(found) == size)
        return v1.ListCustomerListsResponse(lists=map(_list, found), next_page_token=token)


def sees_all() -> bool:
    """Whether the caller in hand sees what is sensitive."""
    return not SEES_ALL.isdisjoint(caller().roles)


def expression(told: v1.AudienceExpression) -> ast.Expression:
    """The expression of a message."""
    kind = told.WhichOneof("kind")
    if kind == "tag":
        return ast.TagIs(told.tag.code, tuple(told.tag.values))
    if kind == "feature":
        least = told.feature.least if told.feature.HasField("least") else None
        most = told.feature.most if told.feature.HasField("most") else None
        return ast.FeatureBetween(told.feature.name, least, most)
    if kind == "all_of":
        return ast.AllOf(tuple(map(expression, told.all_of.parts)))
    if kind == "any_of":
        return ast.AnyOf(tuple(map(expression, told.any_of.parts)))
    if kind == "not":
        return ast.Not(expression(getattr(told, "not")))
    if kind == "at_least":
        return ast.AtLeast(told.at_least.count, tuple(map(expression, told.at_least.parts)))
    if kind == "saved":
        return ast.Saved(told.saved.audience_id, told.saved.version)
    if kind == "list_id":
        return ast.Listed(told.list_id)
    if kind == "segment_id":
        return ast.InSegment(told.segment_id)
    return ast.Frozen(told.frozen_id) if kind == "frozen_id" else ast.Everybody()


def message(told: ast.Expression) -> v1.AudienceExpression:
    """The message of an expression."""
    made, message_of = v1.AudienceExpression, v1.AudienceExpression
    match told:
        case ast.Everybody():
            return made(everybody=message_of.Everybody())
        case ast.TagIs():
            return made(tag=message_of.TagIs(code=told.code, values=told.values))
        case ast.FeatureBetween():
            return made(feature=message_of.FeatureBetween(name=told.name, least=told.least, most=told.most))
        case ast.AllOf():
            return made(all_of=message_of.Parts(parts=map(message, told.parts)))
        case ast.AnyOf():
            return made(any_of=message_of.Parts(parts=map(message, told.parts)))
        case ast.Not():
            return made(**{"not": message(told.part)})  # type: ignore[arg-type]  # a keyword of Python
        case ast.AtLeast():
            return made(at_least=message_of.AtLeast(count=told.count, parts=map(message, told.parts)))
        case ast.Saved():
            return made(saved=message_of.Saved(audience_id=told.audience_id, version=told.version))
        case ast.Listed():
            return made(list_id=told.list_id)
        case ast.InSegment():
            return made(segment_id=told.segment_id)
    return made(frozen_id=told.frozen_id)


def time_of(known: datetime) -> Timestamp:
    """A time as a message."""
    told = Timestamp()
    told.FromDatetime(known)
    return told


def _asked(request: Any) -> Asked | None:
    """What a request with `expression` and `text` means; None when it has neither."""
    if request.HasField("expression"):
        return Asked(expression(request.expression))
    return Asked(None, request.text) if request.text else None


def _question(request: v1.ListAudienceMembersRequest) -> str:
    """What is asked, whatever the page: the token of one question is none of another's."""
    asked = v1.ListAudienceMembersRequest(
        expression=request.expression if request.HasField("expression") else None,
        text=request.text,
        with_tags=request.with_tags,
    )
    return hashlib.sha256(asked.SerializeToString(deterministic=True)).hexdigest()[:16]


def _counted(found: Counted) -> v1.Audience:
    return v1.Audience(
        customers=found.customers,
        sample_customer_keys=found.sample,
        expression=message(found.expression),
        text=found.text,
        run_id=found.run_id,
        parts=[v1.AudiencePart(text=each.text, depth=each.depth, customers=each.customers) for each in found.parts],
    )


def _saved(known: SavedAudience) -> v1.SavedAudience:
    return v1.SavedAudience(
        audience_id=known.audience_id,
        version=known.version,
        title=known.title,
        expression=message(known.expression),
        text=known.text,
        create_time=time_of(known.create_time),
        owner=known.owner,
    )


def _frozen(known: FrozenAudience) -> v1.FrozenAudience:
    return v1.FrozenAudience(
        frozen_id=known.frozen_id,
        text=known.text,
        run_id=known.run_id,
        customers=known.customers,
        purpose=known.purpose,
        create_time=time_of(known.create_time),
    )


def _list(known: CustomerList) -> v1.CustomerList:
    return v1.CustomerList(
        list_id=known.list_id,
        version=known.version,
        title=known.title,
        customers=known.customers,
        update_time=time_of(known.update_time),
    )


def _line(known: Any) -> v1.ProfileLine:
    index = 100 * known.share / known.base_share if known.base_share else 0.0
    return v1.ProfileLine(
        code=known.code,
        value=known.value,
        name=known.name,
        customers=known.customers,
        share=known.share,
        base_share=known.base_share,
        index=index,
        z=known.z,
    )


def _overlap(sizes: list[int], left: int, right: int, both: int) -> v1.Overlap:
    either = sizes[left] + sizes[right] - both
    return v1.Overlap(
        left=left,
        right=right,
        customers=both,
        jaccard=both / either if either else 0.0,
        left_share=both / sizes[left] if sizes[left] else 0.0,
        right_share=both / sizes[right] if sizes[right] else 0.0,
    )
