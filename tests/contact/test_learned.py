"""From plan to what is learned of it: orders, feedback and openings told once; a stopped campaign sends nothing."""

import asyncio
from datetime import UTC, timedelta
from typing import Any

from lifecircle.contact import v1 as proto
from tests.contact.conftest import Running
from tests.contact.test_control import opened, states
from tests.contact.test_journey import handed_over, planned, settle

Fact = proto.OutcomeFact


async def learned(running: Running, most: int, seconds: float = 10.0) -> list[proto.OutcomeFact]:
    """The first facts: `most` of them, or those that came in time."""
    found: list[proto.OutcomeFact] = []
    stream = running.desk.stub.WatchOutcomes(proto.WatchOutcomesRequest())
    try:
        async with asyncio.timeout(seconds):
            async for message in stream:
                found += message.facts
                if len(found) >= most:
                    break
    except TimeoutError:
        pass
    finally:
        stream.cancel()
    return found


def feedback(contact: proto.Contact, result: str) -> Any:
    told = {"contact_id": contact.contact_id, "result": result, "opened": "N"}
    return ("contact.feedback", contact.customer_key, contact.contact_time.ToDatetime(tzinfo=UTC), told)


async def test_feedback_and_openings_are_told_to_whoever_follows_each_once(running: Running) -> None:
    """R000-044, R000-047, R000-048: what comes back of a contact is there for portrait, training and points, once."""
    _, plan = await planned(running)
    await handed_over(running, plan)
    first, second, *_ = await running.desk.contacts(plan.plan_id)
    story = [feedback(first, "responded"), opened(first, timedelta(days=2)), feedback(second, "refused")]
    for _ in range(2):  # ingest tells it again
        await running.town.tell(*story)
        await settle(running)
    facts = await learned(running, 4, seconds=3.0)
    assert sorted((fact.kind, fact.contact_id) for fact in facts) == sorted(
        [
            (Fact.KIND_OUTCOME, first.contact_id),
            (Fact.KIND_OPENING, first.contact_id),
            (Fact.KIND_OUTCOME, second.contact_id),
        ]
    )
    assert len({fact.fact_id for fact in facts}) == 3
    assert {fact.attribution_token for fact in facts} == {first.attribution_token, second.attribution_token}
    opening = next(fact for fact in facts if fact.kind == Fact.KIND_OPENING)
    assert (opening.offer_id, opening.product_id, opening.channel) == (first.offer_id, first.product_id, "sms")


async def test_a_plan_s_contacts_become_orders_once_and_are_compared_in_one_report(running: Running) -> None:
    """R000-046: the same campaign goes to account managers, and counts in the same report."""
    campaign, plan = await planned(running)
    await handed_over(running, plan)

    async def order(request_id: str) -> proto.CreateOrdersResponse:
        request = proto.CreateOrdersRequest(plan_id=plan.plan_id, request_id=request_id)
        return await running.desk.stub.CreateOrders(request)

    made = [await order("a"), await order("a"), await order("b")]
    assert [(one.created, one.existing) for one in made] == [
        (plan.contacts, 0),
        (plan.contacts, 0),
        (0, plan.contacts),
    ]
    listed = proto.ListOrdersRequest(campaign_id=campaign.campaign_id, page_size=1000)
    orders = (await running.desk.stub.ListOrders(listed)).orders
    contacts = await running.desk.contacts(plan.plan_id)
    assert {one.contact_id for one in orders} == {one.contact_id for one in contacts}
    assert {one.content for one in orders} == {campaign.offers[0].content}


async def test_a_campaign_killed_before_the_hand_over_sends_nothing(running: Running) -> None:
    """R002-083: the kill switch stops all sends of a campaign."""
    campaign, plan = await planned(running, control_bps=2_000)
    verb = proto.MoveCampaignRequest.VERB_KILL
    kill = proto.MoveCampaignRequest(campaign_id=campaign.campaign_id, verb=verb, request_id="kill", note="投诉")
    await running.desk.stub.MoveCampaign(kill)
    done = await handed_over(running, plan)
    assert set((await states(running, plan)).values()) == {
        proto.Contact.STATE_CAMPAIGN_STOPPED,
        proto.Contact.STATE_CONTROL_WITHHELD,
    }
    assert [file.rows for file in done.handover_files] == [0]
