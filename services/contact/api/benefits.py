"""Benefits, subscriptions, messages, forwards."""

import dataclasses
from datetime import datetime

from lifecircle.contact import v1 as proto
from services.contact.api import incoming, outgoing
from services.contact.api.pages import READ, WRITE, Context, number, request_key
from services.contact.domain.benefit import Benefit, Message, Pool, Subscription
from services.contact.usecases import Benefits
from services.kit import paging
from services.kit.clock import Clock
from services.kit.interceptors import Rights, caller

_CHANNEL = frozenset({"operator", "service"})

RIGHTS: Rights = {
    "CreateBenefitPool": WRITE,
    "ListBenefitPools": READ,
    "IssueBenefit": _CHANNEL,
    "RedeemBenefit": _CHANNEL,
    "ListBenefits": READ,
    "CreateSubscription": _CHANNEL,
    "EndSubscription": _CHANNEL,
    "ListMessages": READ,
    "RecordForward": _CHANNEL,
    "GetReferralReport": READ,
}

_Kind = proto.Benefit.Kind


class BenefitsApi:
    """Benefits and sends."""

    def __init__(self, benefits: Benefits, clock: Clock) -> None:
        self._benefits = benefits
        self._clock = clock

    async def CreateBenefitPool(
        self, request: proto.CreateBenefitPoolRequest, context: Context
    ) -> proto.CreateBenefitPoolResponse:
        """Sets a pool."""
        told = request.pool
        names = ("campaign_id", "product_id", "cap", "value_fen", "valid_days")
        asked = Pool(kind=_kind(told.kind), **{name: getattr(told, name) for name in names})
        made = await self._benefits.create_pool(request_key(request), asked, caller().org)
        return proto.CreateBenefitPoolResponse(pool=_pool(made))

    async def ListBenefitPools(
        self, request: proto.ListBenefitPoolsRequest, context: Context
    ) -> proto.ListBenefitPoolsResponse:
        """Lists the pools of a campaign, which fit on one page."""
        found = await self._benefits.pools(request.campaign_id)
        return proto.ListBenefitPoolsResponse(pools=[_pool(one) for one in found])

    async def IssueBenefit(self, request: proto.IssueBenefitRequest, context: Context) -> proto.IssueBenefitResponse:
        """Issues a benefit."""
        key, kind = request_key(request), _kind(request.kind)
        made = await self._benefits.issue(key, request.campaign_id, kind, request.customer_key)
        return proto.IssueBenefitResponse(benefit=_benefit(made, self._clock()))

    async def RedeemBenefit(self, request: proto.RedeemBenefitRequest, context: Context) -> proto.RedeemBenefitResponse:
        """Redeems a benefit."""
        done = await self._benefits.redeem(request_key(request), request.benefit_id)
        return proto.RedeemBenefitResponse(benefit=_benefit(done, self._clock()))

    async def ListBenefits(self, request: proto.ListBenefitsRequest, context: Context) -> proto.ListBenefitsResponse:
        """Lists the benefits of a customer."""
        size, after = paging.clamp(request.page_size), number(request.page_token)
        found = await self._benefits.benefits(request.customer_key, after, size)
        token = paging.encode({"number": after + size} if len(found) == size else {})
        benefits = [_benefit(one, self._clock()) for one in found]
        return proto.ListBenefitsResponse(benefits=benefits, next_page_token=token)

    async def CreateSubscription(
        self, request: proto.CreateSubscriptionRequest, context: Context
    ) -> proto.CreateSubscriptionResponse:
        """Subscribes a customer."""
        told = request.subscription
        asked = Subscription(
            subscription_id="",
            campaign_id=told.campaign_id,
            customer_key=told.customer_key,
            channel=incoming.channel(told.channel),
            hour=told.hour,
            weekdays=tuple(sorted(told.weekdays)),
        )
        made = await self._benefits.subscribe(request_key(request), asked)
        return proto.CreateSubscriptionResponse(subscription=_subscription(made))

    async def EndSubscription(
        self, request: proto.EndSubscriptionRequest, context: Context
    ) -> proto.EndSubscriptionResponse:
        """Ends a subscription."""
        done = await self._benefits.unsubscribe(request_key(request), request.subscription_id)
        return proto.EndSubscriptionResponse(subscription=_subscription(done))

    async def ListMessages(self, request: proto.ListMessagesRequest, context: Context) -> proto.ListMessagesResponse:
        """Lists the messages of a campaign."""
        size, after = paging.clamp(request.page_size), number(request.page_token)
        found = await self._benefits.messages(request.campaign_id, after, size)
        token = paging.encode({"number": after + size} if len(found) == size else {})
        return proto.ListMessagesResponse(messages=[_message(one) for one in found], next_page_token=token)

    async def RecordForward(self, request: proto.RecordForwardRequest, context: Context) -> proto.RecordForwardResponse:
        """Records that a content was passed on."""
        key, giver, receiver = request_key(request), request.from_customer_key, request.to_customer_key
        depth, existing = await self._benefits.forward(key, request.campaign_id, giver, receiver)
        return proto.RecordForwardResponse(depth=depth, existing=existing)

    async def GetReferralReport(
        self, request: proto.GetReferralReportRequest, context: Context
    ) -> proto.GetReferralReportResponse:
        """Gives how a content went from hand to hand."""
        found = await self._benefits.referrals(request.campaign_id)
        report = proto.ReferralReport(campaign_id=request.campaign_id, **dataclasses.asdict(found))
        return proto.GetReferralReportResponse(report=report)


def _kind(value: proto.Benefit.Kind.ValueType) -> str:
    return _Kind.Name(value).removeprefix("KIND_")


def _pool(pool: Pool) -> proto.BenefitPool:
    told = dataclasses.asdict(pool)
    return proto.BenefitPool(kind=_Kind.Value(f"KIND_{told.pop('kind')}"), **told)


def _benefit(benefit: Benefit, now: datetime) -> proto.Benefit:
    return proto.Benefit(
        benefit_id=benefit.benefit_id,
        campaign_id=benefit.campaign_id,
        kind=_Kind.Value(f"KIND_{benefit.kind}"),
        customer_key=benefit.customer_key,
        product_id=benefit.product_id,
        value_fen=benefit.value_fen,
        state=proto.Benefit.State.Value(f"STATE_{benefit.state(now)}"),
        issue_time=outgoing.moment(benefit.issue_time),
        expire_time=outgoing.moment(benefit.expire_time),
        redeem_time=outgoing.moment(benefit.redeem_time),
    )


def _subscription(value: Subscription) -> proto.Subscription:
    return proto.Subscription(
        subscription_id=value.subscription_id,
        campaign_id=value.campaign_id,
        customer_key=value.customer_key,
        channel=outgoing.channel(value.channel),
        hour=value.hour,
        weekdays=value.weekdays,
        next_time=outgoing.moment(value.next_time),
    )


def _message(value: Message) -> proto.OutboundMessage:
    return proto.OutboundMessage(
        message_id=value.message_id,
        campaign_id=value.campaign_id,
        customer_key=value.customer_key,
        channel=outgoing.channel(value.channel),
        content=value.content,
        state=proto.OutboundMessage.State.Value(f"STATE_{value.state}"),
        due_time=outgoing.moment(value.due_time),
        receipt=value.receipt,
    )
