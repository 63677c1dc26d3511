"""Channels as one: a registry, one way in with a token for each, one way out, and what is planned for them."""

from datetime import timedelta

import grpc.aio
import pytest

from lifecircle.contact import v1 as proto
from tests.contact.conftest import Quiet
from tests.contact.test_campaign_life import BRIEF, contacted, move, write
from tests.contact.test_slots import NOW, Event, PushVerb, Screen, rid
from tests.contact.town import stamp
from tests.fixtures.serving import refused

CHANNELS = {"top": proto.CHANNEL_WEB, "hall": proto.CHANNEL_APP, "sheet": proto.CHANNEL_STORE}


@pytest.fixture
def screen(quiet: Quiet) -> Screen:
    return Screen(quiet)


async def test_all_channels_are_in_one_registry_with_their_state(screen: Screen) -> None:
    """R003-054: every channel is listed, the one that was switched off as such, with since when.

    R003-001: in this one place, and what a slot shows comes out of it alone: of a slot that is not registered nothing.
    """
    nowhere, draft = "nowhere", await screen.slot("page", channel=proto.CHANNEL_MALL)
    await screen.content("未审", draft.slot_id, approve=False)
    shown = await screen.shows(nowhere, draft.slot_id)
    assert [(one.content_id, one.pitch, one.reason) for one in shown] == [
        ("", "", "slot unknown"),
        ("", "欢迎", "nothing due"),
    ]
    told = proto.ChannelRegistration(channel=proto.CHANNEL_WEB, valid=False)
    await screen.li.UpdateChannel(proto.UpdateChannelRequest(channel=told, request_id=rid()))
    listed = (await screen.li.ListChannels(proto.ListChannelsRequest())).channels
    assert {one.channel for one in listed} == set(proto.Channel.values()) - {proto.CHANNEL_UNSPECIFIED}
    assert [one.channel for one in listed if not one.valid] == [proto.CHANNEL_WEB]
    assert next(one for one in listed if not one.valid).HasField("update_time")


async def test_every_channel_asks_by_the_same_calls_with_a_token_of_its_own(screen: Screen) -> None:
    """R003-055: two channels' systems, each by its token; without one nobody is answered, and none of them plans."""
    for slot_id in ("top", "hall"):
        await screen.slot(slot_id, channel=CHANNELS[slot_id])
        await screen.schedule((await screen.content(slot_id, slot_id)).content_id)
    for number, (system, slot_id) in enumerate((("web-hall", "top"), ("palm-hall", "hall"))):
        stub = screen.quiet.stub(system, roles={"service"})
        (showing,) = (await stub.GetShowings(proto.GetShowingsRequest(slot_ids=[slot_id]))).showings
        assert showing.pitch == f"{slot_id}半价"
        seen = Event(event_id=f"e{number}", kind=Event.KIND_EXPOSURE, slot_id=slot_id, event_time=stamp(NOW))
        seen.content_id = showing.content_id
        asked = proto.RecordSlotEventsRequest(events=[seen], request_id="the same of both")
        assert (await stub.RecordSlotEvents(asked)).recorded == 1
        with pytest.raises(grpc.aio.AioRpcError) as plans:
            await stub.CreatePush(proto.CreatePushRequest(slot_id=slot_id, ttl_seconds=60, request_id=rid()))
        assert refused(plans.value)[1] == "NOT_ALLOWED"
    stranger = proto.ContactServiceStub(screen.quiet.served.channel())
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await stranger.GetShowings(proto.GetShowingsRequest(slot_ids=["top"]))
    assert refused(unknown.value)[:2] == ("UNAUTHENTICATED", "STRANGER")


async def test_what_is_pushed_to_any_channel_goes_one_way_and_is_listed_together(screen: Screen) -> None:
    """R003-056: one call pushes, one list tells of it, one call acknowledges, whichever channel it is for."""
    made = {}
    for slot_id, channel in CHANNELS.items():
        await screen.slot(slot_id, channel=channel)
        content = await screen.content(slot_id, slot_id)
        await screen.schedule(content.content_id)
        asked = proto.CreatePushRequest(slot_id=slot_id, ttl_seconds=3_600, request_id=rid())
        push = (await screen.li.CreatePush(asked)).push
        assert [one.content_id for one in push.contents] == [content.content_id]
        made[push.push_id] = slot_id
    live = (await screen.li.ListPushes(proto.ListPushesRequest(live=True))).pushes
    assert {one.push_id: one.slot_id for one in live} == made
    for push_id in made:
        verb = PushVerb(push_id=push_id, verb=PushVerb.VERB_ACKNOWLEDGE, request_id=rid())
        assert (await screen.li.MovePush(verb)).push.state == proto.Push.STATE_ACKNOWLEDGED


async def test_by_its_schedule_a_slot_shows_the_foremost_campaign_and_its_showing_is_followed(screen: Screen) -> None:
    """R003-080: the campaign of the highest priority is shown while it is scheduled, and what was shown is traced."""
    await screen.slot(choice=proto.Slot.CHOICE_PRIORITY)
    ordinary, best = [await write(screen.li, name) for name in ("平日", "节日")]
    first = await screen.content("甲", campaign_id=ordinary.campaign_id)
    second = await screen.content("乙", campaign_id=best.campaign_id)
    await screen.schedule(first.content_id, (0, 24), priority=1)
    await screen.schedule(second.content_id, (2, 3), priority=9)
    shown = []
    for hour in range(4):
        screen.quiet.clock.now = NOW + timedelta(hours=hour)
        (showing,) = await screen.shows()
        shown.append(showing.campaign_id)
        assert showing.attribution_token
        seen = Event(event_id=f"x{hour}", kind=Event.KIND_EXPOSURE, slot_id="top", content_id=showing.content_id)
        seen.event_time.CopyFrom(stamp(screen.quiet.clock.now))
        await screen.li.RecordSlotEvents(proto.RecordSlotEventsRequest(events=[seen], request_id=rid()))
    assert shown == [ordinary.campaign_id, ordinary.campaign_id, best.campaign_id, ordinary.campaign_id]
    traced = (await screen.li.ListSlotValues(proto.ListSlotValuesRequest(by_content=True))).values
    assert {one.content_id: one.exposures for one in traced} == {first.content_id: 3, second.content_id: 1}


async def test_a_strategy_holds_customer_channel_product_timing_and_promotion(quiet: Quiet) -> None:
    """R003-043: all five stand in one object, and come back as they were written."""
    brief = proto.CampaignBrief()
    brief.CopyFrom(BRIEF)
    brief.moments.append("airport")
    made = await write(quiet.stub("li"), brief=brief)
    kept = (await quiet.stub("wang").GetCampaign(proto.GetCampaignRequest(campaign_id=made.campaign_id))).campaign
    assert kept.brief.audience == "home:东区 AND age:18-40"
    assert (list(kept.offers[0].channels), kept.offers[0].product_id) == (
        [proto.CHANNEL_SMS, proto.CHANNEL_CALL],
        "P01",
    )
    assert (list(kept.brief.moments), kept.start_date.month, kept.end_date.month) == (["airport"], 9, 12)
    assert kept.brief.promotion == "首月半价"


async def test_precision_timeliness_and_the_share_of_models_are_told_of_a_month(quiet: Quiet) -> None:
    """R004-031: scientific, timely, precise: contacts chosen by a model, days to the launch, openings of contacts."""
    boss = quiet.stub("wang")
    made = await write(quiet.stub("li"))
    for verb in ("APPROVE", "PILOT"):
        await move(boss, made.campaign_id, verb)
    await contacted(quiet, made, sent=90, opened=9, controls=10)
    quiet.clock.advance(days=2)
    await move(boss, made.campaign_id, "ROLL_OUT")
    told = {}
    for name in ("model_targeted_share", "launch_lead_days", "opening_rate"):
        (found,) = (await boss.ListKpiValues(proto.ListKpiValuesRequest(name=name))).values
        told[name] = found.value
    assert told == pytest.approx({"model_targeted_share": 1.0, "launch_lead_days": 2.0, "opening_rate": 0.1})


async def test_offers_that_differ_are_told_from_offers_that_are_all_alike(quiet: Quiet) -> None:
    """R004-036: the diversity of a month is the chance that two of its contacts brought different products."""

    async def diversity() -> float:
        asked = proto.ListKpiValuesRequest(name="offer_diversity")
        (found,) = (await quiet.stub("li").ListKpiValues(asked)).values
        return found.value

    await contacted(quiet, await write(quiet.stub("li"), "一"), sent=60, opened=1, controls=0)
    assert await diversity() == 0.0
    other = await write(quiet.stub("li"), "二", products=("P02",))
    await contacted(quiet, other, sent=20, opened=1, controls=0)
    assert await diversity() == pytest.approx(1 - 0.75**2 - 0.25**2)
