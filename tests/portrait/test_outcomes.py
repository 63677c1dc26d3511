"""What contact tells of answers to its campaigns, over a real gRPC server, as portrait keeps it."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from typing import Any

import grpc.aio

from lifecircle.contact import v1
from services.kit.db import Database
from services.portrait.peers import Contacts
from services.portrait.store.projections import Projections

NOON = datetime(2026, 9, 10, 4, tzinfo=UTC)
CAMPAIGNS = {
    "half": v1.Campaign(campaign_id="half", brief=v1.CampaignBrief(promotion="半价")),
    "coupon": v1.Campaign(campaign_id="coupon", type="coupon"),
    "plain": v1.Campaign(campaign_id="plain"),
}
TOLD = {"half": True, "coupon": True, "plain": False, "gone": None, "": None}


class ContactPeer(v1.ContactServiceServicer):
    """Tells of two answers to each campaign; counts how often a campaign is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def WatchOutcomes(
        self, request: v1.WatchOutcomesRequest, context: Any
    ) -> AsyncIterator[v1.WatchOutcomesResponse]:
        for number in range(2):
            facts = [
                v1.OutcomeFact(
                    fact_id=f"{campaign}-{number}",
                    kind=v1.OutcomeFact.KIND_OUTCOME,
                    contact_id=f"{campaign}-{number}",
                    customer_key=7,
                    campaign_id=campaign,
                    channel="sms",
                    result=v1.Outcome.RESULT_RESPONDED,
                )
                for campaign in TOLD
            ]
            for fact in facts:
                fact.contact_time.FromDatetime(NOON)
            yield v1.WatchOutcomesResponse(cursor=str(number + 1), facts=facts)

    async def GetPolicy(self, request: v1.GetPolicyRequest, context: Any) -> v1.GetPolicyResponse:
        sms = v1.Policy.ChannelLimit(channel=v1.CHANNEL_SMS, cost_fen=5)
        return v1.GetPolicyResponse(policy=v1.Policy(channel_limits=[sms]))

    async def GetCampaign(self, request: v1.GetCampaignRequest, context: Any) -> v1.GetCampaignResponse:
        self.asked.append(request.campaign_id)
        if request.campaign_id not in CAMPAIGNS:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such campaign")
        return v1.GetCampaignResponse(campaign=CAMPAIGNS[request.campaign_id])


async def test_each_answer_is_kept_with_whether_its_campaign_gave_a_discount(db: Database) -> None:
    """R003-037: the campaign preference rests on what contact says of its campaigns."""
    peer, server = ContactPeer(), grpc.aio.server()  # type: ignore[abstract]  # only what portrait calls
    v1.add_ContactServiceServicer_to_server(peer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            batches = [each async for each in Contacts(v1.ContactServiceStub(channel)).outcomes("")]
    finally:
        await server.stop(0)
    assert [each.cursor for each in batches] == ["1", "2"]
    kept = [contact for each in batches for contact in each.event or ()]
    assert [(each.campaign_id, each.discount) for each in kept] == [*TOLD.items(), *TOLD.items()]
    assert {each.cost_fen for each in kept} == {5}, "by the price of the channel"
    assert {known: peer.asked.count(known) for known in CAMPAIGNS} == dict.fromkeys(CAMPAIGNS, 1)
    async with db.begin() as tx:
        await Projections().put_contacts(tx, kept)
        await tx.commit()
    async with db.read() as read:
        rows = await Projections().until(read, date(2026, 9, 30), 180, "Asia/Shanghai")
    assert sorted((row[3], row[4]) for row in rows if row[4] is not None) == [(True, False)] * 2 + [(True, True)] * 4
    assert sum(row[4] is None for row in rows) == 4
