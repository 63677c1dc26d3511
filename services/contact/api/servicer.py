"""The servicer: one method per RPC."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from lifecircle.contact import v1 as proto
from services.contact.api import incoming, outgoing
from services.contact.usecases import Auctions, Desk, Effects, Handovers, Work
from services.kit import paging
from services.kit.errors import bad_page_token
from services.kit.idempotency import RequestKey, key_of
from services.kit.interceptors import Rights, caller

_READ = frozenset({"viewer", "operator", "service"})
_WRITE = frozenset({"operator"})

RIGHTS: Rights = {
    "UpdatePolicy": _WRITE,
    "GetPolicy": _READ,
    "CreateCampaign": _WRITE,
    "ActivateCampaign": _WRITE,
    "CloseCampaign": _WRITE,
    "GetCampaign": _READ,
    "ListCampaigns": _READ,
    "CreateJob": _WRITE,
    "GetJob": _READ,
    "ListJobs": _READ,
    "CancelJob": _WRITE,
    "GetPlan": _READ,
    "ListPlans": _READ,
    "ListContacts": _READ,
    "RecordOutcomes": _WRITE | {"service"},
    "ListOutcomes": _READ,
    "ListEffects": _READ,
}

_Context = grpc.aio.ServicerContext[Any, Any]


class ContactApi(proto.ContactServiceServicer):
    """`lifecircle.contact.v1.ContactService`."""

    def __init__(self, *, desk: Desk, auctions: Auctions, handovers: Handovers, work: Work, effects: Effects) -> None:
        self._desk = desk
        self._auctions = auctions
        self._handovers = handovers
        self._work = work
        self._effects = effects

    async def UpdatePolicy(self, request: proto.UpdatePolicyRequest, context: _Context) -> proto.UpdatePolicyResponse:
        """Sets the policy."""
        policy = await self._desk.update_policy(_key(request), incoming.policy(request.policy))
        return proto.UpdatePolicyResponse(policy=outgoing.policy(policy))

    async def GetPolicy(self, request: proto.GetPolicyRequest, context: _Context) -> proto.GetPolicyResponse:
        """Gives the policy in force."""
        return proto.GetPolicyResponse(policy=outgoing.policy(await self._desk.policy()))

    async def CreateCampaign(
        self, request: proto.CreateCampaignRequest, context: _Context
    ) -> proto.CreateCampaignResponse:
        """Writes a draft."""
        campaign = await self._desk.create_campaign(_key(request), incoming.campaign(request.campaign, caller().org))
        return proto.CreateCampaignResponse(campaign=outgoing.campaign(campaign))

    async def ActivateCampaign(
        self, request: proto.ActivateCampaignRequest, context: _Context
    ) -> proto.ActivateCampaignResponse:
        """Lets a draft bid."""
        campaign = await self._desk.activate_campaign(_key(request), request.campaign_id, request.etag)
        return proto.ActivateCampaignResponse(campaign=outgoing.campaign(campaign))

    async def CloseCampaign(
        self, request: proto.CloseCampaignRequest, context: _Context
    ) -> proto.CloseCampaignResponse:
        """Stops a campaign's bids."""
        campaign = await self._desk.close_campaign(_key(request), request.campaign_id, request.etag)
        return proto.CloseCampaignResponse(campaign=outgoing.campaign(campaign))

    async def GetCampaign(self, request: proto.GetCampaignRequest, context: _Context) -> proto.GetCampaignResponse:
        """Gives one campaign."""
        campaign = await self._desk.campaign(request.campaign_id)
        return proto.GetCampaignResponse(campaign=outgoing.campaign(campaign))

    async def ListCampaigns(
        self, request: proto.ListCampaignsRequest, context: _Context
    ) -> proto.ListCampaignsResponse:
        """Lists campaigns."""
        size = paging.clamp(request.page_size)
        found = await self._desk.campaigns(request.name, _timed(request.page_token), size)
        page = [outgoing.campaign(campaign) for campaign in found]
        token = _token(*[(one.create_time, one.campaign_id) for one in found], size=size)
        return proto.ListCampaignsResponse(campaigns=page, next_page_token=token)

    async def CreateJob(self, request: proto.CreateJobRequest, context: _Context) -> proto.CreateJobResponse:
        """Starts an auction or a hand-over."""
        key, asked = _key(request), request.arbitrate
        if request.HasField("handover"):
            job = await self._handovers.begin(key, request.handover.plan_id)
        else:
            on = incoming.day(asked.plan_date, "arbitrate.plan_date")
            job = await self._auctions.begin(key, asked.campaign_ids, asked.matrix_id, on)
        return proto.CreateJobResponse(job=outgoing.job(job))

    async def GetJob(self, request: proto.GetJobRequest, context: _Context) -> proto.GetJobResponse:
        """Gives one job."""
        return proto.GetJobResponse(job=outgoing.job(await self._work.job(request.job_id)))

    async def ListJobs(self, request: proto.ListJobsRequest, context: _Context) -> proto.ListJobsResponse:
        """Lists jobs."""
        size = paging.clamp(request.page_size)
        after = _texts(request.page_token, "job_id")
        found = await self._work.page(after[0] if after else None, size)
        token = paging.encode({"job_id": found[-1].job_id}) if len(found) == size else ""
        return proto.ListJobsResponse(jobs=[outgoing.job(job) for job in found], next_page_token=token)

    async def CancelJob(self, request: proto.CancelJobRequest, context: _Context) -> proto.CancelJobResponse:
        """Cancels a job."""
        return proto.CancelJobResponse(job=outgoing.job(await self._work.cancel(_key(request), request.job_id)))

    async def GetPlan(self, request: proto.GetPlanRequest, context: _Context) -> proto.GetPlanResponse:
        """Gives one plan."""
        return proto.GetPlanResponse(plan=outgoing.plan(await self._auctions.plan(request.plan_id)))

    async def ListPlans(self, request: proto.ListPlansRequest, context: _Context) -> proto.ListPlansResponse:
        """Lists plans."""
        size = paging.clamp(request.page_size)
        found = await self._auctions.plans(_timed(request.page_token), size)
        token = _token(*[(one.create_time, one.plan_id) for one in found], size=size)
        return proto.ListPlansResponse(plans=[outgoing.plan(plan) for plan in found], next_page_token=token)

    async def ListContacts(self, request: proto.ListContactsRequest, context: _Context) -> proto.ListContactsResponse:
        """Lists the contacts of a plan."""
        size = paging.clamp(request.page_size)
        found = await self._auctions.contacts(request.plan_id, _keyed(request.page_token), size)
        last = {"key": found[-1].customer_key, "offer_id": found[-1].offer_id} if len(found) == size else {}
        contacts = [outgoing.contact(contact) for contact in found]
        return proto.ListContactsResponse(contacts=contacts, next_page_token=paging.encode(last))

    async def RecordOutcomes(
        self, request: proto.RecordOutcomesRequest, context: _Context
    ) -> proto.RecordOutcomesResponse:
        """Records what came of contacts."""
        done = await self._effects.record(_key(request), incoming.outcomes(request.outcomes))
        return proto.RecordOutcomesResponse(
            recorded=done.recorded, duplicates=done.duplicates, unmatched_contact_ids=done.unmatched
        )

    async def ListOutcomes(self, request: proto.ListOutcomesRequest, context: _Context) -> proto.ListOutcomesResponse:
        """Lists outcomes."""
        size = paging.clamp(request.page_size)
        after = (_texts(request.page_token, "contact_id") or [""])[0]
        found = await self._effects.outcomes(request.contact_id, request.unmatched, after, size)
        token = paging.encode({"contact_id": found[-1].outcome.contact_id}) if len(found) == size else ""
        return proto.ListOutcomesResponse(outcomes=[outgoing.outcome(one) for one in found], next_page_token=token)

    async def ListEffects(self, request: proto.ListEffectsRequest, context: _Context) -> proto.ListEffectsResponse:
        """Gives what campaigns achieved."""
        size = paging.clamp(request.page_size)
        after = _texts(request.page_token, "name", "campaign_id")
        found = await self._effects.effects(request.campaign_id, (after[0], after[1]) if after else None, size)
        last = {"name": found[-1].name, "campaign_id": found[-1].campaign_id} if len(found) == size else {}
        effects = [outgoing.effect(effect) for effect in found]
        return proto.ListEffectsResponse(effects=effects, next_page_token=paging.encode(last))


def _key(request: Message) -> RequestKey:
    """The key of a request that writes, whose texts can be kept."""
    incoming.check(request)
    return key_of(request)


def _token(*found: tuple[datetime | None, str], size: int) -> str:
    """The token after a page ordered by time and id; a page that is not full is the last."""
    if len(found) < size or found[-1][0] is None:
        return ""
    return paging.encode({"time": found[-1][0].isoformat(), "id": found[-1][1]})


def _texts(page_token: str, *names: str) -> Sequence[str]:
    """The texts of a token under these names; nothing for the first page. Raises bad_page_token."""
    token = paging.decode(page_token)
    texts = [token.get(name) for name in names]
    if token and not all(isinstance(text, str) and "\0" not in text for text in texts):
        raise bad_page_token()
    return [str(text) for text in texts] if token else []


def _timed(page_token: str) -> tuple[datetime, str] | None:
    texts = _texts(page_token, "time", "id")
    try:
        moment = datetime.fromisoformat(texts[0]) if texts else None
    except ValueError as error:
        raise bad_page_token() from error
    if moment is not None and moment.tzinfo is None:
        raise bad_page_token()
    return None if moment is None else (moment, texts[1])


def _keyed(page_token: str) -> tuple[int, str] | None:
    token = paging.decode(page_token)
    if not token:
        return None
    key, offer_id = token.get("key"), token.get("offer_id")
    if not isinstance(key, int) or not isinstance(offer_id, str) or abs(key) >= 1 << 63:
        raise bad_page_token()
    return key, offer_id
