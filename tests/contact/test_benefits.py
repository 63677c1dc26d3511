"""Coupons and trials within their cap, recurring sends each once, forwards followed from hand to hand."""

import asyncio
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecircle.contact import v1 as proto
from services.contact import app
from services.contact.config import Config
from services.contact.domain.auction import Customer
from services.contact.domain.benefit import Subscription, next_send
from services.contact.domain.fact import ConsentChange, Opening
from services.contact.peers import http_gateway
from services.contact.store import Store
from services.contact.usecases import Orders, Sender
from services.kit.ids import system_ids
from tests.contact import gateways
from tests.contact.conftest import Quiet
from tests.contact.desk import campaign
from tests.contact.made import limit, policy
from tests.fixtures.serving import refused

NOW = datetime(2026, 10, 1, 2, tzinfo=UTC)
SHANGHAI, STORE = ZoneInfo("Asia/Shanghai"), Store()
numbers = itertools.count()


def rid() -> str:
    return f"b{next(numbers)}"


@pytest.fixture
def gateway() -> Iterator[gateways.Gateway]:
    with gateways.playing() as playing:
        yield playing


class Shop:
    """A campaign that bids, with customers who agreed to be contacted."""

    def __init__(self, quiet: Quiet) -> None:
        self.quiet, self.stub = quiet, quiet.stub("li")

    async def campaign(self, type_: str = "", name: str = "秋季") -> str:
        async with self.quiet.db.begin() as tx:
            channels = ("sms", "call", "app", "web", "mall", "store", "order")
            limits = [limit(one, quiet_from_hour=0, quiet_to_hour=0) for one in channels]
            await STORE.policies.add(tx, policy(*limits, most=None), NOW)
            await STORE.customers.put(tx, [(key, Customer("G01", "A", "active")) for key in range(1, 51)])
            agreed = [ConsentChange(key, one, "marketing", True, NOW) for key in range(1, 51) for one in channels]
            await STORE.customers.put_consents(tx, agreed)
            await tx.commit()
        request = proto.CreateCampaignRequest(campaign=campaign(name, type=type_), request_id=rid())
        made = (await self.stub.CreateCampaign(request)).campaign
        verb = proto.ActivateCampaignRequest(campaign_id=made.campaign_id, request_id=rid())
        await self.stub.ActivateCampaign(verb)
        return made.campaign_id

    async def pool(self, campaign_id: str, cap: int, kind: "proto.Benefit.Kind.ValueType") -> None:
        told = proto.BenefitPool(
            campaign_id=campaign_id, kind=kind, product_id="P01", cap=cap, value_fen=500, valid_days=3
        )
        await self.stub.CreateBenefitPool(proto.CreateBenefitPoolRequest(pool=told, request_id=rid()))

    async def issue(self, campaign_id: str, customer: int, kind: "proto.Benefit.Kind.ValueType") -> proto.Benefit:
        asked = proto.IssueBenefitRequest(campaign_id=campaign_id, kind=kind, customer_key=customer, request_id=rid())
        return (await self.stub.IssueBenefit(asked)).benefit

    async def redeem(self, benefit_id: str) -> proto.Benefit:
        return (
            await self.stub.RedeemBenefit(proto.RedeemBenefitRequest(benefit_id=benefit_id, request_id=rid()))
        ).benefit

    async def subscribe(self, campaign_id: str, customer: int, channel: str = "SMS", **changes: Any) -> Any:
        told: dict[str, Any] = {"hour": 12, "weekdays": [1, 2, 3, 4, 5, 6, 7]} | changes
        made = proto.Subscription(
            campaign_id=campaign_id,
            customer_key=customer,
            channel=proto.Channel.Value(f"CHANNEL_{channel}"),
            **told,
        )
        return (
            await self.stub.CreateSubscription(proto.CreateSubscriptionRequest(subscription=made, request_id=rid()))
        ).subscription

    def sender(self, **channels: Any) -> Sender:
        return Sender(self.quiet.db, STORE, self.quiet.clock, SHANGHAI, channels)


@pytest.fixture
def shop(quiet: Quiet) -> Shop:
    return Shop(quiet)


async def test_coupons_asked_for_by_many_at_once_stay_within_the_cap_one_each(shop: Shop) -> None:
    """R002-088, R002-092: a campaign grants coupons; issue is idempotent and capped, whoever asks and however often."""
    campaign_id, coupon = await shop.campaign(), proto.Benefit.KIND_COUPON
    await shop.pool(campaign_id, 7, coupon)
    asked = [shop.issue(campaign_id, customer, coupon) for customer in range(1, 13) for _ in range(2)]
    ends = await asyncio.gather(*asked, return_exceptions=True)
    got = [end for end in ends if isinstance(end, proto.Benefit)]
    assert len({one.benefit_id for one in got}) == len({one.customer_key for one in got}) == 7
    failed = {refused(end)[1] for end in ends if isinstance(end, grpc.aio.AioRpcError)}
    assert failed == {"BENEFITS_EXHAUSTED"}
    (pool,) = (await shop.stub.ListBenefitPools(proto.ListBenefitPoolsRequest(campaign_id=campaign_id))).pools
    assert (pool.issued, pool.cap, pool.redeemed) == (7, 7, 0)


async def test_a_coupon_is_redeemed_once_and_not_after_its_time(shop: Shop) -> None:
    """R002-088: redemption is tracked, once."""
    campaign_id, coupon = await shop.campaign(), proto.Benefit.KIND_COUPON
    await shop.pool(campaign_id, 10, coupon)
    first, second = await shop.issue(campaign_id, 1, coupon), await shop.issue(campaign_id, 2, coupon)
    tries = await asyncio.gather(*(shop.redeem(first.benefit_id) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(one, proto.Benefit) for one in tries) == 1
    shop.quiet.clock.advance(days=3)
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await shop.redeem(second.benefit_id)
    assert refused(late.value)[1:] == ("BENEFIT_STATE", {"id": second.benefit_id, "state": "EXPIRED"})
    listed = (await shop.stub.ListBenefits(proto.ListBenefitsRequest(customer_key=1))).benefits
    assert [one.state for one in listed] == [proto.Benefit.STATE_REDEEMED]


async def test_a_trial_that_leads_to_an_opening_is_a_conversion(shop: Shop) -> None:
    """R002-039: trials run out, and their conversion is tracked."""
    campaign_id, trial = await shop.campaign(), proto.Benefit.KIND_TRIAL
    await shop.pool(campaign_id, 10, trial)
    for customer in (1, 2, 3):
        await shop.redeem((await shop.issue(campaign_id, customer, trial)).benefit_id)
    async with shop.quiet.db.begin() as tx:
        openings = [Opening(1, "P01", NOW + timedelta(days=3)), Opening(2, "P01", NOW - timedelta(days=1))]
        await STORE.customers.put_openings(tx, [*openings, Opening(3, "P02", NOW + timedelta(days=1))])
        await tx.commit()
    (pool,) = (await shop.stub.ListBenefitPools(proto.ListBenefitPoolsRequest(campaign_id=campaign_id))).pools
    assert (pool.redeemed, pool.converted, pool.redeemed_fen) == (3, 1, 1_500)


async def test_a_subscriber_gets_his_content_at_his_hour_each_day_once(shop: Shop, gateway: gateways.Gateway) -> None:
    """R002-050: recurring send per subscriber at a set time; a gateway that dies after taking sends nothing twice."""
    campaign_id = await shop.campaign("recurring")
    made = await shop.subscribe(campaign_id, 1)
    assert made.next_time.ToDatetime(tzinfo=UTC) == datetime(2026, 10, 1, 4, tzinfo=UTC)
    sender = shop.sender(sms=http_gateway(gateway.url))
    assert await sender.queue() == 0
    shop.quiet.clock.advance(hours=2)
    gateway.dies_after_taking = 1
    for _ in range(3):
        await sender.queue()
        await sender.send()
        shop.quiet.clock.advance(seconds=31)
    assert [(key, text) for _, key, text in gateway.delivered] == [(1, "P01首月半价")]
    shop.quiet.clock.advance(days=1)
    await asyncio.gather(*(sender.queue() for _ in range(3)))
    await asyncio.gather(*(sender.send() for _ in range(3)))
    assert len(gateway.delivered) == 2
    ended = proto.EndSubscriptionRequest(subscription_id=made.subscription_id, request_id=rid())
    assert not (await shop.stub.EndSubscription(ended)).subscription.HasField("next_time")
    shop.quiet.clock.advance(days=5)
    assert await sender.queue() == 0
    listed = (await shop.stub.ListMessages(proto.ListMessagesRequest(campaign_id=campaign_id))).messages
    assert [one.state for one in listed] == [proto.OutboundMessage.STATE_SENT] * 2


async def test_consent_withdrawn_and_a_paused_campaign_are_seen_at_the_moment_of_the_send(
    shop: Shop, gateway: gateways.Gateway
) -> None:
    """R002-083: what was queued is not sent once the campaign is stopped, or the customer said no."""
    campaign_id, other = await shop.campaign("recurring"), await shop.campaign("recurring", "别的")
    for customer in (1, 2):
        await shop.subscribe(campaign_id, customer)
    await shop.subscribe(other, 3)
    shop.quiet.clock.advance(hours=3)
    sender = shop.sender(sms=http_gateway(gateway.url))
    assert await sender.queue() == 3
    async with shop.quiet.db.begin() as tx:
        no = ConsentChange(2, "sms", "marketing", False, NOW + timedelta(hours=1))
        await STORE.customers.put_consents(tx, [no])
        await tx.commit()
    kill = proto.MoveCampaignRequest(
        campaign_id=other, verb=proto.MoveCampaignRequest.VERB_KILL, request_id=rid(), note="投诉"
    )
    await shop.stub.MoveCampaign(kill)
    assert await sender.send() == 3
    assert [key for _, key, _ in gateway.delivered] == [1]


async def test_what_a_gateway_refuses_has_failed_and_what_it_does_not_answer_waits(
    shop: Shop, gateway: gateways.Gateway
) -> None:
    """R002-081: the log of what a campaign sent says of each message whether it went out, with its receipt."""
    campaign_id = await shop.campaign("recurring")
    for customer in (1, 2):
        await shop.subscribe(campaign_id, customer)
    shop.quiet.clock.advance(hours=3)
    sender = shop.sender(sms=http_gateway(gateway.url))
    await sender.queue()
    gateway.refuses, gateway.answers_nonsense = {2}, True
    assert await sender.send() == 0
    gateway.answers_nonsense = False
    assert await sender.send() == 0  # it waits before it tries again
    shop.quiet.clock.advance(seconds=31)
    assert await sender.send() == 2
    listed = (await shop.stub.ListMessages(proto.ListMessagesRequest(campaign_id=campaign_id))).messages
    assert {one.customer_key: (one.state, one.receipt) for one in listed} == {
        1: (proto.OutboundMessage.STATE_SENT, "ok"),
        2: (proto.OutboundMessage.STATE_FAILED, "blocked"),
    }


async def test_one_campaign_goes_out_through_the_halls_a_list_a_store_and_work_orders_alike(
    shop: Shop, gateway: gateways.Gateway, tmp_path: Path
) -> None:
    """R000-046, R002-040: offline channels are behind the same port as the online ones.

    R003-003: SMS, palm hall, web hall, mall, call list and store each have their adapter.
    """
    campaign_id = await shop.campaign("recurring")
    online = dict(enumerate(("sms", "app", "web", "mall"), start=4))
    channels = {1: "CALL", 2: "STORE", 3: "ORDER", **{customer: name.upper() for customer, name in online.items()}}
    for customer, channel in channels.items():
        await shop.subscribe(campaign_id, customer, channel)

    async def nobody(customer_key: int) -> str:
        return ""

    orders = Orders(shop.quiet.db, STORE, shop.quiet.clock, system_ids, nobody)
    urls: Any = {f"gateway_{one}": gateway.url for one in online.values()}
    server: Any = None  # gateways alone are asked for
    set_up = Config(server, "", "", tmp_path, **urls, gateway_lists=str(tmp_path))
    sender = shop.sender(**app.gateways(set_up), order=orders.take)
    shop.quiet.clock.advance(hours=3)
    await sender.queue()
    assert await sender.send() == 7
    assert {customer for _, customer, _ in gateway.delivered} == online.keys()
    assert [len(list((tmp_path / name).iterdir())) for name in ("call", "store")] == [1, 1]
    listed = (await shop.stub.ListOrders(proto.ListOrdersRequest(campaign_id=campaign_id))).orders
    assert [(one.customer_key, one.content) for one in listed] == [(3, "P01首月半价")]


async def test_a_content_is_followed_from_hand_to_hand(shop: Shop) -> None:
    """R002-051: forwards are tracked, each receiver once, with what they bring."""
    campaign_id = await shop.campaign("referral")

    async def forward(giver: int, receiver: int) -> tuple[int, bool]:
        asked = proto.RecordForwardRequest(
            campaign_id=campaign_id, from_customer_key=giver, to_customer_key=receiver, request_id=rid()
        )
        done = await shop.stub.RecordForward(asked)
        return done.depth, done.existing

    assert [await forward(1, 2), await forward(2, 3), await forward(1, 4)] == [(1, False), (2, False), (1, False)]
    assert await forward(4, 2) == (1, True)
    async with shop.quiet.db.begin() as tx:
        await STORE.customers.put_openings(tx, [Opening(3, "P01", NOW + timedelta(days=2)), Opening(1, "P01", NOW)])
        await tx.commit()
    asked = proto.GetReferralReportRequest(campaign_id=campaign_id)
    report = (await shop.stub.GetReferralReport(asked)).report
    assert (report.recipients, report.forwards, report.depth, report.openings) == (1, 3, 2, 1)
    with pytest.raises(grpc.aio.AioRpcError) as himself:
        await forward(1, 1)
    assert refused(himself.value)[0] == "INVALID_ARGUMENT"


@given(
    st.integers(0, 730 * 24 * 60),
    st.integers(0, 23),
    st.sets(st.integers(1, 7), min_size=1),
    st.sampled_from(["Asia/Shanghai", "Europe/Berlin", "America/New_York"]),
)
def test_the_next_send_is_the_first_of_its_hour_and_days_also_when_clocks_change(
    minutes: int, hour: int, weekdays: set[int], zone: str
) -> None:
    """R002-050: at the set time, over DST too."""
    where, since = ZoneInfo(zone), datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    subscription = Subscription("s", "c", 1, "sms", hour, tuple(sorted(weekdays)))
    due = next_send(subscription, since, where)
    assert due.timestamp() > since.timestamp()
    assert (due.hour, due.isoweekday() in weekdays) == (hour, True)
    assert due - since.astimezone(where) <= timedelta(days=8, hours=1)
    again = next_send(subscription, due, where)
    assert again.date() > due.date()
