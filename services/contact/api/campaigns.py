"""Campaigns from draft to lesson, their pilots, the catalogue, what was learned."""

from lifecircle.contact import v1 as proto
from services.contact.api import campaign as messages
from services.contact.api import incoming
from services.contact.api.pages import READ, WRITE, Context, number, request_key, texts, timed, timed_token
from services.contact.usecases import Campaigns
from services.contact.usecases.campaigns import Change
from services.kit import paging
from services.kit.interceptors import Rights, caller

RIGHTS: Rights = {
    "CreateCampaign": WRITE,
    "ActivateCampaign": WRITE,
    "CloseCampaign": WRITE,
    "MoveCampaign": WRITE,
    "GetCampaign": READ,
    "ListCampaigns": READ,
    "ListCampaignTypes": READ,
    "ListKnowledge": READ,
    "ListEventGuests": READ,
    "GetSampleSize": READ,
    "GetPilotFinding": READ,
    "ListRounds": READ,
}


class CampaignsApi:
    """Campaigns."""

    def __init__(self, campaigns: Campaigns) -> None:
        self._campaigns = campaigns

    async def CreateCampaign(
        self, request: proto.CreateCampaignRequest, context: Context
    ) -> proto.CreateCampaignResponse:
        """Writes a draft."""
        key, draft = request_key(request), messages.draft(request.campaign, caller().org)
        return proto.CreateCampaignResponse(campaign=messages.campaign(await self._campaigns.create(key, draft)))

    async def ActivateCampaign(
        self, request: proto.ActivateCampaignRequest, context: Context
    ) -> proto.ActivateCampaignResponse:
        """Lets a draft bid."""
        campaign = await self._campaigns.activate(request_key(request), request.campaign_id, request.etag)
        return proto.ActivateCampaignResponse(campaign=messages.campaign(campaign))

    async def CloseCampaign(self, request: proto.CloseCampaignRequest, context: Context) -> proto.CloseCampaignResponse:
        """Stops a campaign's bids."""
        campaign = await self._campaigns.close(request_key(request), request.campaign_id, request.etag)
        return proto.CloseCampaignResponse(campaign=messages.campaign(campaign))

    async def MoveCampaign(self, request: proto.MoveCampaignRequest, context: Context) -> proto.MoveCampaignResponse:
        """Moves a campaign by a verb of its life."""
        change = Change(
            verb=proto.MoveCampaignRequest.Verb.Name(request.verb).removeprefix("VERB_").lower(),
            etag=request.etag,
            note=request.note,
            override=request.override,
            lesson=messages.lesson(request.lesson) if request.HasField("lesson") else None,
        )
        campaign = await self._campaigns.move(request_key(request), request.campaign_id, change)
        return proto.MoveCampaignResponse(campaign=messages.campaign(campaign))

    async def GetCampaign(self, request: proto.GetCampaignRequest, context: Context) -> proto.GetCampaignResponse:
        """Gives one campaign."""
        campaign, moves = await self._campaigns.campaign(request.campaign_id)
        return proto.GetCampaignResponse(campaign=messages.campaign(campaign, moves))

    async def ListCampaigns(self, request: proto.ListCampaignsRequest, context: Context) -> proto.ListCampaignsResponse:
        """Lists campaigns."""
        size = paging.clamp(request.page_size)
        found = await self._campaigns.campaigns(request.name, request.finding_id, timed(request.page_token), size)
        page = [messages.campaign(campaign) for campaign in found]
        token = timed_token(*[(one.create_time, one.campaign_id) for one in found], size=size)
        return proto.ListCampaignsResponse(campaigns=page, next_page_token=token)

    async def ListCampaignTypes(
        self, request: proto.ListCampaignTypesRequest, context: Context
    ) -> proto.ListCampaignTypesResponse:
        """Lists the catalogue."""
        size = paging.clamp(request.page_size)
        after = (texts(request.page_token, "name") or [""])[0]
        found = self._campaigns.types(after, size)
        token = paging.encode({"name": found[-1].name}) if len(found) == size else ""
        return proto.ListCampaignTypesResponse(types=[messages.type_(one) for one in found], next_page_token=token)

    async def ListKnowledge(self, request: proto.ListKnowledgeRequest, context: Context) -> proto.ListKnowledgeResponse:
        """Lists what was learned."""
        size = paging.clamp(request.page_size)
        channel = incoming.channel(request.channel) if request.channel else ""
        found = await self._campaigns.knowledge(
            request.query, request.product_id, channel, timed(request.page_token), size
        )
        token = timed_token(*[(one.close_time, one.campaign_id) for one in found], size=size)
        return proto.ListKnowledgeResponse(entries=[messages.knowledge(one) for one in found], next_page_token=token)

    async def ListEventGuests(
        self, request: proto.ListEventGuestsRequest, context: Context
    ) -> proto.ListEventGuestsResponse:
        """Lists who took part in past events of a tag."""
        size, after = paging.clamp(request.page_size), number(request.page_token)
        found = await self._campaigns.guests(request.event_tag, after, size)
        names = ("customer_key", "contacts", "responses", "openings")
        guests = [proto.EventGuest(**{name: one[name] for name in names}) for one in found]
        token = paging.encode({"number": after + size} if len(found) == size else {})
        total = found[0]["total"] if found else 0
        return proto.ListEventGuestsResponse(guests=guests, next_page_token=token, total=total)

    async def GetSampleSize(self, request: proto.GetSampleSizeRequest, context: Context) -> proto.GetSampleSizeResponse:
        """Gives how many customers a pilot needs."""
        needed = self._campaigns.sample_size(
            request.base, request.expected, request.alpha, request.power, request.control_share
        )
        return proto.GetSampleSizeResponse(treated=needed.treated, control=needed.control)

    async def GetPilotFinding(
        self, request: proto.GetPilotFindingRequest, context: Context
    ) -> proto.GetPilotFindingResponse:
        """Gives what a pilot shows."""
        finding = await self._campaigns.finding(request.campaign_id)
        return proto.GetPilotFindingResponse(finding=messages.finding(finding))

    async def ListRounds(self, request: proto.ListRoundsRequest, context: Context) -> proto.ListRoundsResponse:
        """Lists the rounds that led to a campaign."""
        size, after = paging.clamp(request.page_size), number(request.page_token)
        found = (await self._campaigns.rounds(request.campaign_id))[after : after + size]
        rounds = [messages.round_(after + at, one) for at, one in enumerate(found, start=1)]
        token = paging.encode({"number": after + size} if len(found) == size else {})
        return proto.ListRoundsResponse(rounds=rounds, next_page_token=token)
