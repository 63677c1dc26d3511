"""TM Forum's TMF681 over ContactService: contacts as communication messages, under the published names."""

from dataclasses import dataclass

import grpc.aio

from lifecircle.contact import v1 as proto
from services.contact.api.pages import READ, Context
from services.kit.interceptors import Rights

RIGHTS: Rights = {"ListCommunicationMessages": READ}
"""Who may call what."""

_PATH = "/tmf-api/communicationManagement/v4/communicationMessage"
_Message = proto.CommunicationMessage
_TYPES = {
    proto.CHANNEL_SMS: "SMS",
    proto.CHANNEL_CALL: "Call",
    proto.CHANNEL_APP: "Mobile app push notification",
    proto.CHANNEL_WEB: "Web",
    proto.CHANNEL_STORE: "Store",
    proto.CHANNEL_ORDER: "Order",
}
_STATES = {proto.Contact.STATE_PLANNED: "initial", proto.Contact.STATE_HANDED_OVER: "completed"}


def register(api: proto.ContactServiceServicer, server: grpc.aio.Server) -> None:
    """Adds `api` and its facade to a server."""
    proto.add_ContactServiceServicer_to_server(api, server)
    proto.add_Tmf681ServiceServicer_to_server(Tmf681Api(api), server)


@dataclass(frozen=True)
class Tmf681Api(proto.Tmf681ServiceServicer):
    """The servicer of Tmf681Service; it asks ContactService and renames."""

    api: proto.ContactServiceServicer

    async def ListCommunicationMessages(
        self, request: proto.ListCommunicationMessagesRequest, context: Context
    ) -> proto.ListCommunicationMessagesResponse:
        """A plan's contacts, but for those that are held out."""
        asked = proto.ListContactsRequest(
            plan_id=request.plan_id, page_size=request.page_size, page_token=request.page_token
        )
        page = await self.api.ListContacts(asked, context)
        sent = [each for each in page.contacts if not each.control]
        campaigns = await self._campaigns({each.campaign_id for each in sent}, context)
        messages = [_message(each, campaigns[each.campaign_id]) for each in sent]
        return proto.ListCommunicationMessagesResponse(
            communication_message=messages, next_page_token=page.next_page_token
        )

    async def _campaigns(self, campaign_ids: set[str], context: Context) -> dict[str, proto.Campaign]:
        found = {}
        for campaign_id in sorted(campaign_ids):
            asked = proto.GetCampaignRequest(campaign_id=campaign_id)
            found[campaign_id] = (await self.api.GetCampaign(asked, context)).campaign
        return found


def _message(contact: proto.Contact, campaign: proto.Campaign) -> _Message:
    state = _STATES.get(contact.state, "cancelled")
    why = proto.Contact.State.Name(contact.state).removeprefix("STATE_") if state == "cancelled" else ""
    told = {
        "planId": contact.plan_id,
        "offerId": contact.offer_id,
        "productId": contact.product_id,
        "attributionToken": contact.attribution_token,
    }
    return _Message(
        id=contact.contact_id,
        href=f"{_PATH}/{contact.contact_id}",
        content=next((each.content for each in campaign.offers if each.offer_id == contact.offer_id), ""),
        message_type=_TYPES[contact.channel],
        state=state,
        description=why,
        scheduled_send_time=contact.contact_time,
        receiver=[_Message.Receiver(id=str(contact.customer_key), referred_type="Customer")],
        sender=_Message.Sender(id=campaign.campaign_id, name=campaign.name, referred_type="Campaign"),
        characteristic=[_Message.Characteristic(name=name, value=value) for name, value in told.items()],
        type="CommunicationMessage",
    )
