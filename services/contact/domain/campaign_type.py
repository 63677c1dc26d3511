"""The catalogue of campaign types (营销活动类型): what each is for, what it brings, and how a template of it begins."""

from collections.abc import Mapping
from dataclasses import dataclass

STANDARD, EVENT, RECURRING, REFERRAL = "standard", "event", "recurring", "referral"
TRIAL, BENEFIT, COUPON, CARE, WAKE_UP, REACTIVATE = "trial", "benefit", "coupon", "care", "wake_up", "reactivate"


@dataclass(frozen=True)
class CampaignType:
    """A type: `mechanism` is what the platform does for it, the rest fills in a brief's first draft."""

    name: str
    title: str
    mechanism: str
    audience: str
    goal: str
    measure: str
    needs_event_tag: bool = False


_ALL = (
    CampaignType(
        STANDARD, "产品推广", "bids in the auction", "tag expression", "openings of the product", "opening rate"
    ),
    CampaignType(
        EVENT,
        "事件营销",
        "the audience is proposed from who took part in past events of the same type",
        "customers seen at events of the tag",
        "openings around the event",
        "opening rate of participants against non-participants",
        needs_event_tag=True,
    ),
    CampaignType(
        RECURRING,
        "定时接收",
        "a subscriber gets the content at his hour on his days",
        "subscribers",
        "use of a subscribed content",
        "subscribers by month",
    ),
    CampaignType(
        REFERRAL,
        "转发推荐",
        "every recipient has a token; forwards and what they bring are followed",
        "recipients of earlier content",
        "new customers by forwarding",
        "forwards per recipient, openings per forward",
    ),
    CampaignType(
        TRIAL,
        "体验式营销",
        "a free trial runs out by itself and its conversion is followed",
        "customers with the need who have not opened the product",
        "conversion of trials",
        "conversion rate of trials",
    ),
    CampaignType(
        BENEFIT, "消费者权益", "a benefit of the level is granted once", "customers of a level", "loyalty", "redemption"
    ),
    CampaignType(COUPON, "优惠券", "capped, issued and redeemed once each", "tag expression", "sales", "redemption"),
    CampaignType(
        CARE,
        "客户关怀",
        "contact of care, without an offer",
        "birthday, outage, complaint closed",
        "satisfaction",
        "satisfaction by group",
    ),
    CampaignType(
        WAKE_UP,
        "沉默用户唤醒",
        "who opened a product and has not used it for so many days is reminded of it",
        "opened the product and did not use it for n days",
        "use of the product again",
        "usage rate against the control",
    ),
    CampaignType(
        REACTIVATE,
        "僵尸客户激活",
        "who does nothing at all any more is given a reason to come back; spend on him is bounded",
        "no activity of any kind for n days",
        "activity again",
        "reactivation rate against the holdout, ROI",
    ),
)

TYPES: Mapping[str, CampaignType] = {one.name: one for one in _ALL}
"""Name → type, in the catalogue's order."""
