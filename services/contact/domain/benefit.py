"""Coupons, trials and rights, recurring sends, and content that goes from hand to hand."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta, tzinfo

from services.contact.refusals import benefit_state

COUPON, TRIAL, RIGHT = "COUPON", "TRIAL", "RIGHT"
ISSUED, REDEEMED, EXPIRED = "ISSUED", "REDEEMED", "EXPIRED"
RETRY = timedelta(seconds=30)
"""A message that its channel did not answer is tried again after so long."""

QUEUED, SENT, FAILED, WITHHELD = "QUEUED", "SENT", "FAILED", "WITHHELD"


@dataclass(frozen=True)
class Pool:
    """How many benefits of a kind a campaign may issue, and what came of them; money in fen."""

    campaign_id: str
    kind: str
    product_id: str
    cap: int
    value_fen: int
    valid_days: int
    issued: int = 0
    redeemed: int = 0
    converted: int = 0
    redeemed_fen: int = 0


@dataclass(frozen=True)
class Benefit:
    """One customer's benefit."""

    benefit_id: str
    campaign_id: str
    kind: str
    customer_key: int
    product_id: str
    value_fen: int
    issue_time: datetime
    expire_time: datetime
    redeem_time: datetime | None = None

    def state(self, now: datetime) -> str:
        """Whether it is worth anything."""
        if self.redeem_time is not None:
            return REDEEMED
        return EXPIRED if self.expire_time <= now else ISSUED


def redeemable(benefit: Benefit, now: datetime) -> Benefit:
    """The benefit, if it can be redeemed now. Raises benefit_state."""
    state = benefit.state(now)
    if state != ISSUED:
        raise benefit_state(benefit.benefit_id, state)
    return benefit


@dataclass(frozen=True)
class Subscription:
    """Who gets a campaign's content at which hour (business time) of which days (1 Monday … 7 Sunday)."""

    subscription_id: str
    campaign_id: str
    customer_key: int
    channel: str
    hour: int
    weekdays: tuple[int, ...]
    next_time: datetime | None = None


def next_send(subscription: Subscription, after: datetime, zone: tzinfo) -> datetime:
    """The first time of its hour and days that lies after a time.

    An hour that the clocks leave out is sent at the moment at which they jump over it, one that they repeat once.
    """
    day = after.astimezone(zone).date()
    for offset in range(9):
        on = day + timedelta(days=offset)
        due = datetime.combine(on, time(subscription.hour), zone)
        if on.isoweekday() in subscription.weekdays and due.timestamp() > after.timestamp():
            return due
    raise AssertionError("every weekday comes within nine days")


@dataclass(frozen=True)
class Message:
    """One message through a channel's adapter; the channel takes each message_id once."""

    message_id: str
    campaign_id: str
    customer_key: int
    channel: str
    content: str
    due_time: datetime
    state: str = QUEUED
    attempts: int = 0
    receipt: str = ""
    grant_id: str = ""
    """The reservation that is used up by sending it; "" for one that has none yet."""
    end_time: datetime | None = None
    """From then on it is not worth sending any more: it is withheld with its reason. None: as long as it may take."""

    @property
    def failed(self) -> bool:
        """Its channel refused it."""
        return self.state == FAILED


@dataclass(frozen=True)
class Receipt:
    """What a channel answered to one message: `taken` False is a refusal for good."""

    message_id: str
    taken: bool
    text: str


@dataclass(frozen=True)
class Referrals:
    """How a content went from hand to hand."""

    recipients: int
    forwards: int
    depth: int
    openings: int


def settled(message: Message, receipts: Sequence[Receipt]) -> Message:
    """The message after its channel answered; one of which it said nothing waits for the next try."""
    receipt = next((one for one in receipts if one.message_id == message.message_id), None)
    if receipt is None:
        return message
    return dataclasses.replace(message, state=SENT if receipt.taken else FAILED, receipt=receipt.text)
