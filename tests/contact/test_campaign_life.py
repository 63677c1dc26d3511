"""A campaign through the service: four eyes, a pilot with its gate, a kept override, a lesson that is found."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc.aio
import pytest
from sqlalchemy import text

from lifecircle.contact import v1 as proto
from services.contact.domain.auction import Customer
from services.contact.domain.fact import Opening
from services.contact.domain.plan import CONTROL, SENT, Contact, File, Plan
from services.contact.store import Store
from tests.contact.conftest import Quiet
from tests.contact.desk import campaign
from tests.contact.made import DAY, policy
from tests.fixtures.serving import refused

STORE, Move = Store(), proto.MoveCampaignRequest
NOW = datetime(2026, 10, 1, 2, tzinfo=UTC)
BRIEF = proto.CampaignBrief(
    goal="开通流量包",
    audience="home:东区 AND age:18-40",
    creative="半价海报",
    budget_fen=500_000,
    places=["东区营业厅"],
    plan="10月1日起，电话与短信",
    promotion="首月半价",
    event_tag="concert",
    finding_ids=["finding-7"],
)
LESSON = proto.Lesson(
    need="夜间用量",
    product="夜间包",
    targeting="东区住户",
    implementation="短信",
    benefit="开通率 4 %",
    summary="先试点",
)
numbers = itertools.count()


async def write(stub: proto.ContactServiceStub, name: str = "演唱会", **changes: Any) -> proto.Campaign:
    pilot = proto.Pilot(share_bps=1_000, tolerance=0.2, least_trials=50, earlier_successes=10, earlier_trials=1_000)
    told: dict[str, Any] = {"brief": BRIEF, "pilot": pilot, "type": "event", "control_bps": 1_000} | changes
    request = proto.CreateCampaignRequest(campaign=campaign(name, **told), request_id=f"w{next(numbers)}")
    return (await stub.CreateCampaign(request)).campaign


async def move(stub: proto.ContactServiceStub, campaign_id: str, verb: str, **changes: Any) -> proto.Campaign:
    asked = Move(
        campaign_id=campaign_id, verb=Move.Verb.Value(f"VERB_{verb}"), request_id=f"m{next(numbers)}", **changes
    )
    return (await stub.MoveCampaign(asked)).campaign


async def contacted(
    quiet: Quiet, made: proto.Campaign, *, sent: int, opened: int, controls: int, **changes: Any
) -> None:
    """A plan of the campaign was handed over, and so many opened; `expected` is what the matrix thought of each."""
    expected, worth = changes.get("expected", 0.1), 10_000
    offer, plan_id = made.offers[0], f"plan-{next(numbers)}"
    first = quiet.clock.now
    async with quiet.db.begin() as tx:
        if await STORE.policies.latest(tx) is None:
            await STORE.policies.add(tx, policy(), first)
        await STORE.customers.put(tx, [(key, Customer("G01", "A", "active")) for key in range(1, sent + controls + 1)])
        number = await STORE.plans.lock_day(tx, DAY)
        plan = Plan(plan_id, "m1", 1, DAY, number, 1, sent, controls, 1.0, 1.0, 0.0, (), "", first)
        contacts = [
            Contact(
                contact_id=f"{plan_id}-{key}",
                plan_id=plan_id,
                plan_date=DAY,
                customer_key=key,
                org_id="G01",
                campaign_id=made.campaign_id,
                offer_id=offer.offer_id,
                product_id=offer.product_id,
                channel="sms",
                value_fen=expected * worth - 5,
                cost_fen=5,
                worth_fen=worth,
                contact_time=first,
                state=SENT if key <= sent else CONTROL,
            )
            for key in range(1, sent + controls + 1)
        ]
        await STORE.plans.add(tx, plan, contacts)
        await STORE.plans.hand_over(tx, plan_id, File(f"{plan_id}.TXT", sent, "x"), first)
        openings = [Opening(key, offer.product_id, first + timedelta(days=1)) for key in range(1, opened + 1)]
        await STORE.customers.put_openings(tx, openings)
        await STORE.attributions.attribute(tx, openings, first)
        await tx.commit()


async def test_a_pilot_that_agrees_opens_the_gate_and_the_ratio_to_the_earlier_way_is_told(quiet: Quiet) -> None:
    """R001-008, R002-041, R002-081, R003-009, R004-028: cells, ratio with interval, the gate; each stage's state and
    owner.
    """
    author, boss = quiet.stub("li"), quiet.stub("wang")
    made = await write(author)
    with pytest.raises(grpc.aio.AioRpcError) as own:
        await move(author, made.campaign_id, "APPROVE")
    assert refused(own.value)[:2] == ("PERMISSION_DENIED", "NOT_FOUR_EYES")
    assert (await move(boss, made.campaign_id, "APPROVE")).state == proto.Campaign.STATE_APPROVED
    with pytest.raises(grpc.aio.AioRpcError) as early:
        await move(boss, made.campaign_id, "ROLL_OUT")
    assert refused(early.value)[1] == "CAMPAIGN_STATE"
    await move(boss, made.campaign_id, "PILOT")
    with pytest.raises(grpc.aio.AioRpcError) as empty:
        await move(boss, made.campaign_id, "ROLL_OUT")
    assert refused(empty.value)[:2] == ("FAILED_PRECONDITION", "PILOT_BLOCKS")
    await contacted(quiet, made, sent=900, opened=90, controls=100)
    found = (await boss.GetPilotFinding(proto.GetPilotFindingRequest(campaign_id=made.campaign_id))).finding
    assert (found.treated.successes, found.treated.trials, found.control.trials) == (90, 900, 100)
    assert found.predicted == pytest.approx(0.1)
    assert found.to_earlier.ratio == pytest.approx(10)
    assert found.to_earlier.low < 10 < found.to_earlier.high
    assert not found.blocks
    quiet.clock.advance(days=1)
    assert (await move(boss, made.campaign_id, "ROLL_OUT")).state == proto.Campaign.STATE_ACTIVE
    story = (await boss.GetCampaign(proto.GetCampaignRequest(campaign_id=made.campaign_id))).campaign.moves
    stages = [proto.Campaign.State.Value(f"STATE_{one}") for one in ("DRAFT", "APPROVED", "PILOT", "ACTIVE")]
    assert [(one.verb, one.state, one.actor) for one in story] == list(
        zip(("create", "approve", "pilot", "roll_out"), stages, ("li", "wang", "wang", "wang"), strict=True)
    )
    assert (story[-1].finding, story[-1].override) == (found, "")
    assert story[-1].move_time.ToDatetime() - story[0].move_time.ToDatetime() == timedelta(days=1)
    lead = (await boss.ListKpiValues(proto.ListKpiValuesRequest(name="launch_lead_days"))).values
    assert [(one.numerator, one.denominator, one.value) for one in lead] == [(1, 1, 1)]


async def test_a_pilot_that_disagrees_blocks_and_an_override_is_kept_with_name_and_reason(quiet: Quiet) -> None:
    """R002-041, R004-028: blocked unless overridden, and the override is audited."""
    boss = quiet.stub("wang")
    made = await write(quiet.stub("li"))
    await move(boss, made.campaign_id, "APPROVE")
    await move(boss, made.campaign_id, "PILOT")
    await contacted(quiet, made, sent=900, opened=9, controls=100)
    with pytest.raises(grpc.aio.AioRpcError) as blocked:
        await move(boss, made.campaign_id, "ROLL_OUT")
    code, reason, metadata = refused(blocked.value)
    assert (code, reason) == ("FAILED_PRECONDITION", "PILOT_BLOCKS")
    assert "disagrees with the predicted 0.1000" in metadata["blocks"]
    await move(boss, made.campaign_id, "ROLL_OUT", override="总经理决定")
    story = (await boss.GetCampaign(proto.GetCampaignRequest(campaign_id=made.campaign_id))).campaign.moves
    assert (story[-1].override, story[-1].actor) == ("总经理决定", "wang")
    assert story[-1].finding.blocks


async def test_a_round_begins_where_the_last_one_ended(quiet: Quiet) -> None:
    """R002-093, R004-029, R004-030: rounds are linked, one corrects the next, the error is told of each."""
    stub, boss = quiet.stub("li"), quiet.stub("wang")
    first = await write(stub, "一轮")
    await contacted(quiet, first, sent=900, opened=36, controls=100)
    finding = (await boss.GetPilotFinding(proto.GetPilotFindingRequest(campaign_id=first.campaign_id))).finding
    pilot = proto.Pilot(share_bps=1_000, tolerance=0.2, least_trials=50, predicted=finding.corrected)
    second = await write(stub, "二轮", pilot=pilot, previous_campaign_id=first.campaign_id)
    quiet.clock.advance(days=40)
    await contacted(quiet, second, sent=900, opened=38, controls=100)
    rounds = (await boss.ListRounds(proto.ListRoundsRequest(campaign_id=second.campaign_id))).rounds
    assert [(one.number, one.name) for one in rounds] == [(1, "一轮"), (2, "二轮")]
    assert rounds[1].finding.calibration_error < rounds[0].finding.calibration_error


async def test_a_closed_campaign_leaves_its_lesson_and_is_found_by_its_words(quiet: Quiet) -> None:
    """R001-006, R001-112, R002-055, R002-056: the entry is mandatory, and searchable by circle, product, channel.

    R001-051: an event's past guests and products are there to plan the next one of its kind.
    R002-059: the finding in the data, the segment, the design, how it was offered, and what came of it are kept.
    """
    stub, boss = quiet.stub("li"), quiet.stub("wang")
    made = await write(stub)
    await move(boss, made.campaign_id, "APPROVE")
    await move(boss, made.campaign_id, "PILOT")
    await contacted(quiet, made, sent=90, opened=9, controls=10)
    await move(boss, made.campaign_id, "KILL", note="投诉")
    with pytest.raises(grpc.aio.AioRpcError) as silent:
        await move(boss, made.campaign_id, "CLOSE")
    assert refused(silent.value)[:2] == ("INVALID_ARGUMENT", "CAMPAIGN_INVALID")
    await move(boss, made.campaign_id, "CLOSE", lesson=LESSON)
    for search in ({"query": "试点 东区"}, {"product_id": "P01"}, {"channel": proto.CHANNEL_SMS}, {"query": "concert"}):
        (entry,) = (await boss.ListKnowledge(proto.ListKnowledgeRequest(**search))).entries
        assert (entry.name, entry.lesson, entry.effect.opening.successes) == ("演唱会", LESSON, 9)
    kept = (await boss.GetCampaign(proto.GetCampaignRequest(campaign_id=made.campaign_id))).campaign.brief
    assert (list(kept.finding_ids), kept.audience, kept.promotion, kept.plan) == (
        ["finding-7"], BRIEF.audience, BRIEF.promotion, BRIEF.plan,
    )  # fmt: skip
    for search in ({"query": "试点 西区"}, {"product_id": "P02"}, {"channel": proto.CHANNEL_WEB}):
        assert not (await boss.ListKnowledge(proto.ListKnowledgeRequest(**search))).entries
    (past,) = (await boss.ListKnowledge(proto.ListKnowledgeRequest(query="concert"))).entries
    guests = await boss.ListEventGuests(proto.ListEventGuestsRequest(event_tag="concert", page_size=5))
    assert (list(past.product_ids), guests.total) == (["P01"], 90)  # for the next concert: this, and to these
    assert [one.openings for one in guests.guests] == [1] * 5


async def test_a_finding_leads_to_the_campaigns_that_used_it_and_an_event_to_its_past_guests(quiet: Quiet) -> None:
    """R001-157, R003-051: the audience of an event is proposed from past ones, and the idea's finding is linked.

    R002-025: from a finding to the campaigns in which it was used.
    """
    stub = quiet.stub("li")
    made = await write(stub)
    await write(stub, "别的", brief=None, pilot=None, type="")
    listed = (await stub.ListCampaigns(proto.ListCampaignsRequest(finding_id="finding-7"))).campaigns
    assert [one.name for one in listed] == ["演唱会"]
    await contacted(quiet, made, sent=5, opened=2, controls=1)
    page = await stub.ListEventGuests(proto.ListEventGuestsRequest(event_tag="concert", page_size=3))
    assert ([one.customer_key for one in page.guests], page.total) == ([1, 2, 3], 5)
    assert [one.openings for one in page.guests] == [1, 1, 0]
    rest = proto.ListEventGuestsRequest(event_tag="concert", page_size=3, page_token=page.next_page_token)
    assert [one.customer_key for one in (await stub.ListEventGuests(rest)).guests] == [4, 5]


async def test_silent_customers_are_woken_and_what_came_of_it_is_told(quiet: Quiet) -> None:
    """R002-053: a campaign for the silent, with its control; who uses the product again is counted."""
    stub, audience = quiet.stub("li"), "LC01 = 沉默"
    silent = proto.CampaignBrief()
    silent.CopyFrom(BRIEF)
    silent.audience, silent.event_tag = audience, ""
    made = await write(stub, "唤醒", brief=silent, type="wake_up")
    assert (made.type, made.brief.audience) == ("wake_up", audience)
    await contacted(quiet, made, sent=200, opened=30, controls=100)
    (line,) = (await stub.ListEffectReports(proto.ListEffectReportsRequest(campaign_id=made.campaign_id))).lines
    assert (line.opening.successes, line.opening.trials) == (30, 200)
    assert (line.control_opening.successes, line.control_opening.trials) == (0, 100)


async def test_a_pause_is_taken_back_to_where_it_was(quiet: Quiet) -> None:
    boss = quiet.stub("wang")
    made = await write(quiet.stub("li"))
    for verb in ("APPROVE", "PILOT", "PAUSE"):
        await move(boss, made.campaign_id, verb)
    async with quiet.db.read() as read:
        assert not await STORE.campaigns.active(read)
    assert (await move(boss, made.campaign_id, "RESUME")).state == proto.Campaign.STATE_PILOT
    async with quiet.db.read() as read:
        facts = await read.rows(text("SELECT payload FROM outbox WHERE kind = 'campaign.moved' ORDER BY id"))
    assert [row.payload["verb"] for row in facts] == ["approve", "pilot", "pause", "resume"]


async def test_the_catalogue_is_listed_page_by_page_and_a_sample_size_is_told(quiet: Quiet) -> None:
    stub = quiet.stub("li")
    seen, token = [], ""
    while True:
        page = await stub.ListCampaignTypes(proto.ListCampaignTypesRequest(page_size=3, page_token=token))
        seen += [one.name for one in page.types]
        token = page.next_page_token
        if not token:
            break
    assert {"event", "trial", "wake_up", "reactivate"} < set(seen)
    assert len(seen) == len(set(seen)) == 10
    needed = await stub.GetSampleSize(proto.GetSampleSizeRequest(base=0.05, expected=0.1))
    assert (needed.treated, needed.control) == (435, 435)
    with pytest.raises(grpc.aio.AioRpcError) as same:
        await stub.GetSampleSize(proto.GetSampleSizeRequest(base=0.1, expected=0.1))
    assert refused(same.value)[:2] == ("INVALID_ARGUMENT", "PILOT_INVALID")
