"""The methods about persons: who learned what, retired and merged numbers, erasure."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeAlias

import grpc.aio

from lifecircle.ingest import v1
from services.ingest.api import translate
from services.ingest.usecases import Asking, Identities
from services.kit import idempotency, paging
from services.kit.errors import not_allowed
from services.kit.interceptors import Caller, caller

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class PrivacyApi(v1.IngestServiceServicer):
    """A part of the servicer."""

    _identities: Identities
    _erasures: Asking
    _may_reveal: Callable[[Caller], bool]

    async def ListIdentities(self, request: v1.ListIdentitiesRequest, context: Context) -> v1.ListIdentitiesResponse:
        """Customers with their numbers; clear ones only for who may reveal them."""
        if request.purpose and not self._may_reveal(caller()):
            raise not_allowed("RevealIdentities", caller().roles)
        size = paging.clamp(request.page_size)
        after = translate.page_after(request.page_token, "ListIdentities", int) or 0
        why, org = translate.plain(request.purpose, "purpose"), translate.plain(request.org_id, "org_id")
        keys, who = list(request.customer_keys), caller().subject
        found = await self._identities.page(keys, org_id=org, purpose=why, caller=who, after=after, size=size)
        token = translate.next_page("ListIdentities", found, size, lambda each: int(each.customer_key))
        return v1.ListIdentitiesResponse(identities=map(translate.identity, found), next_page_token=token)

    async def ListDisclosures(self, request: v1.ListDisclosuresRequest, context: Context) -> v1.ListDisclosuresResponse:
        """The audit, the latest first."""
        size = paging.clamp(request.page_size)
        before = _before(request.page_token, "ListDisclosures")
        who = translate.plain(request.caller, "caller")
        found = await self._identities.disclosures(
            customer_key=request.customer_key, caller=who, before=before, size=size
        )
        token = translate.next_page("ListDisclosures", found, size, lambda e: _place(e.disclose_time, e.disclosure_id))
        return v1.ListDisclosuresResponse(disclosures=map(translate.disclosure, found), next_page_token=token)

    async def RotateVaultKeys(self, request: v1.RotateVaultKeysRequest, context: Context) -> v1.RotateVaultKeysResponse:
        """Make the job of the rotation."""
        job_id = await self._identities.start_rotation(idempotency.key_of(request, context))
        return v1.RotateVaultKeysResponse(job_id=job_id)

    async def RetireIdentities(
        self, request: v1.RetireIdentitiesRequest, context: Context
    ) -> v1.RetireIdentitiesResponse:
        """Free numbers for new persons."""
        key = idempotency.key_of(request, context)
        return v1.RetireIdentitiesResponse(retired=await self._identities.retire(list(request.customer_keys), key))

    async def MergeIdentities(self, request: v1.MergeIdentitiesRequest, context: Context) -> v1.MergeIdentitiesResponse:
        """Declare keys to be one person."""
        key, reason = idempotency.key_of(request, context), translate.plain(request.reason, "reason")
        into, merged = await self._identities.merge(
            request.into_key, list(request.customer_keys), reason=reason, caller=caller().subject, request=key
        )
        return v1.MergeIdentitiesResponse(into_key=into, merged=merged)

    async def ListMerges(self, request: v1.ListMergesRequest, context: Context) -> v1.ListMergesResponse:
        """The map by customer key."""
        size = paging.clamp(request.page_size)
        after = translate.page_after(request.page_token, "ListMerges", int)
        found = await self._identities.merges(after=after or 0, size=size)
        token = translate.next_page("ListMerges", found, size, lambda each: int(each.customer_key))
        return v1.ListMergesResponse(merges=map(translate.merge, found), next_page_token=token)

    async def EraseSubject(self, request: v1.EraseSubjectRequest, context: Context) -> v1.EraseSubjectResponse:
        """Remove a person."""
        key, reason = idempotency.key_of(request, context), translate.plain(request.reason, "reason")
        found = await self._erasures.erase(request.customer_key, reason=reason, caller=caller().subject, request=key)
        return v1.EraseSubjectResponse(erasure=translate.erasure(found))

    async def GetErasure(self, request: v1.GetErasureRequest, context: Context) -> v1.GetErasureResponse:
        """One erasure with its proof."""
        erasure_id = translate.plain(request.erasure_id, "erasure_id")
        return v1.GetErasureResponse(erasure=translate.erasure(await self._erasures.get(erasure_id)))

    async def ListErasures(self, request: v1.ListErasuresRequest, context: Context) -> v1.ListErasuresResponse:
        """Erasures, the latest first."""
        size = paging.clamp(request.page_size)
        found = await self._erasures.page(before=_before(request.page_token, "ListErasures"), size=size)
        token = translate.next_page("ListErasures", found, size, lambda e: _place(e.request_time, e.erasure_id))
        return v1.ListErasuresResponse(erasures=map(translate.erasure, found), next_page_token=token)


def _place(time: datetime, name: str) -> str:
    return f"{time.isoformat()} {name}"


def _before(token: str, method: str) -> tuple[datetime, str] | None:
    after = translate.page_after(token, method, str)
    if after is None:
        return None
    time, _, name = str(after).partition(" ")
    return datetime.fromisoformat(time), name
