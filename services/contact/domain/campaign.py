"""A campaign: a strategy with a life. Offers to customers over a period, with a control group that nobody contacts.

draft → approved → pilot → active (rolled out) → closed; paused and killed on the way. `MOVES` is the whole machine. A
campaign without a brief is a plain bid: it goes from draft to active and to closed, and nothing else is asked of it.
"""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import numpy as np

from services.contact.domain.campaign_type import STANDARD, TYPES
from services.contact.domain.experiment import Flags, Ints, held_out
from services.contact.domain.membership import NOBODY, Members
from services.contact.domain.pilot import Pilot, checked
from services.contact.domain.policy import CHANNELS, MARKETING, PURPOSES, Wish
from services.contact.refusals import campaign_changed, campaign_invalid, campaign_state, not_four_eyes

DRAFT, APPROVED, PILOT, ACTIVE = "DRAFT", "APPROVED", "PILOT", "ACTIVE"
PAUSED, KILLED, CLOSED = "PAUSED", "KILLED", "CLOSED"

ACTIVATE, APPROVE, TRY, ROLL_OUT = "activate", "approve", "pilot", "roll_out"
PAUSE, RESUME, KILL, CLOSE = "pause", "resume", "kill", "close"

MOVES: Mapping[str, Mapping[str, str]] = {
    ACTIVATE: {DRAFT: ACTIVE},
    APPROVE: {DRAFT: APPROVED},
    TRY: {APPROVED: PILOT},
    ROLL_OUT: {APPROVED: ACTIVE, PILOT: ACTIVE},
    PAUSE: {PILOT: PAUSED, ACTIVE: PAUSED},
    RESUME: {PAUSED: ACTIVE},
    KILL: {APPROVED: KILLED, PILOT: KILLED, ACTIVE: KILLED, PAUSED: KILLED},
    CLOSE: {PILOT: CLOSED, ACTIVE: CLOSED, PAUSED: CLOSED, KILLED: CLOSED},
}
"""Verb → state before → state after; RESUME leads back to where the campaign was paused."""

STOPPED = frozenset({PAUSED, KILLED})
"""States in which nothing more is sent, whatever was planned."""

WITHOUT_PILOT = 1_000
"""A campaign of so few contacts in a plan may be rolled out without a pilot; a larger one may not."""

_FORBIDDEN = "|\r\n\x00"


@dataclass(frozen=True)
class Brief:
    """The plan (策划) of a campaign and its strategy: customers × channel × product × timing × promotion × content.

    Products, channels and content stand in the offers. `moments` are types of events that trigger it, `audience` says
    whom in the words of the portrait's tags, `findings` names what the idea came from.
    """

    goal: str
    audience: str
    creative: str
    budget_fen: int
    places: tuple[str, ...]
    plan: str
    promotion: str = ""
    moments: tuple[str, ...] = ()
    event_tag: str = ""
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lesson:
    """The five steps of a case as they went (需求挖掘, 产品开发, 目标客户定位, 营销实施, 效益分析), and its summary."""

    need: str
    product: str
    targeting: str
    implementation: str
    benefit: str
    summary: str


@dataclass(frozen=True)
class Moved:
    """One step of a campaign's history; `override` says why the gate was passed against its finding."""

    verb: str
    state: str
    actor: str
    note: str
    override: str
    finding: Mapping[str, Any]
    time: datetime


@dataclass(frozen=True)
class Offer:
    """A product with terms, content and channels; `worth_fen` is what one opening is worth."""

    offer_id: str
    product_id: str
    content: str
    channels: tuple[str, ...]
    worth_fen: int
    exclusive_group: str

    def wish(self, channel: str, purpose: str) -> Wish:
        """A contact with it, as the rules see it."""
        return Wish(channel, self.product_id, self.exclusive_group, purpose)


@dataclass(frozen=True)
class Campaign:
    """A campaign as it stands; contacts_max None is unlimited, 0 none at all; `revision` counts its changes from 1.

    `org_id` is the organisation of whoever wrote it, "" for the whole company.
    """

    name: str
    offers: tuple[Offer, ...]
    start_date: date
    end_date: date
    control_bps: int
    contacts_max: int | None
    contacts_min: int
    campaign_id: str = ""
    org_id: str = ""
    state: str = DRAFT
    revision: int = 1
    create_time: datetime | None = None
    type: str = STANDARD
    author: str = ""
    brief: Brief | None = None
    pilot: Pilot | None = None
    previous_campaign_id: str = ""
    paused_from: str = ""
    purpose: str = MARKETING

    @property
    def audience(self) -> str:
        """Whom it is for, in the words of the portrait's tags; "" for everybody."""
        return self.brief.audience.strip() if self.brief else ""

    @property
    def budget_fen(self) -> int:
        """What all its contacts together may cost, in fen; 0 for no bound."""
        return self.brief.budget_fen if self.brief else 0

    @property
    def moments(self) -> frozenset[str]:
        """The moments in which alone it bids; none for at any time."""
        return frozenset(self.brief.moments) if self.brief else frozenset()

    @property
    def limited(self) -> bool:
        """Whether it reaches a part of the customers: an audience, or those of the organisation that runs it."""
        return bool(self.audience or self.org_id)

    @property
    def etag(self) -> str:
        """Changes with every change."""
        return hashlib.sha256(f"{self.campaign_id}|{self.revision}".encode()).hexdigest()[:16]

    def bids_on(self, day: date) -> bool:
        """Whether it bids for contacts of this business day; in its pilot it bids for the pilot's customers."""
        return self.state in (PILOT, ACTIVE) and self.start_date <= day <= self.end_date

    def reaches(self, customers: Ints, members: Mapping[str, Members]) -> Flags:
        """Which customers [N] it may contact as it stands: its members, in its pilot the share that the hash selects.

        `members` are campaign id → whom a limited one reaches; one that was not loaded reaches nobody.
        """
        reached = np.ones(len(customers), np.bool_)
        if self.limited:
            reached = members.get(self.campaign_id, NOBODY).has(customers)
        if self.state == PILOT and self.pilot is not None:
            reached = reached & held_out(f"pilot {self.name}", customers, self.pilot.share_bps)
        return reached


def drafted(campaign: Campaign, campaign_id: str, now: datetime) -> Campaign:
    """The campaign as a first draft with its ids. Raises campaign_invalid."""
    _check(campaign)
    offers = tuple(
        dataclasses.replace(offer, offer_id=f"{campaign_id}-{index:02d}", channels=in_order(offer.channels))
        for index, offer in enumerate(campaign.offers, start=1)
    )
    return dataclasses.replace(
        campaign, campaign_id=campaign_id, offers=offers, state=DRAFT, revision=1, create_time=now
    )


def moved(campaign: Campaign, verb: str, etag: str = "") -> Campaign:
    """The campaign after the verb. Raises campaign_changed, campaign_state."""
    if etag and etag != campaign.etag:
        raise campaign_changed(campaign.campaign_id)
    allowed = MOVES[verb]
    if campaign.state not in allowed:
        raise campaign_state(campaign.campaign_id, campaign.state, " or ".join(allowed))
    state = campaign.paused_from if verb == RESUME else allowed[campaign.state]
    paused_from = campaign.state if verb == PAUSE else ""
    return dataclasses.replace(campaign, state=state, paused_from=paused_from, revision=campaign.revision + 1)


def examined(campaign: Campaign, verb: str, actor: str, lesson: Lesson | None) -> None:
    """Refuse a verb that this campaign or this person may not use: campaign_invalid, campaign_state, not_four_eyes.

    With a brief the whole way is gone: approved by another person, tried in a pilot when it is large, closed with what
    was learned. Without one there is nothing to approve.
    """
    brief = campaign.brief
    if verb in (APPROVE, TRY, ROLL_OUT) and brief is None:
        raise campaign_invalid("brief", "is needed for an approval, a pilot and a roll-out")
    if verb == ACTIVATE and brief is not None:
        raise campaign_state(campaign.campaign_id, campaign.state, "without a brief: this one is approved")
    if verb == APPROVE and brief is not None:
        _whole(brief)
        if actor == campaign.author:
            raise not_four_eyes(campaign.campaign_id, actor)
    if verb == TRY and campaign.pilot is None:
        raise campaign_invalid("pilot", "is needed for a pilot")
    small = campaign.contacts_max is not None and campaign.contacts_max <= WITHOUT_PILOT
    if verb == ROLL_OUT and campaign.state == APPROVED and not small:
        needed = f"PILOT, as it is larger than {WITHOUT_PILOT:,} contacts"
        raise campaign_state(campaign.campaign_id, campaign.state, needed)
    if verb == CLOSE and brief is not None:
        if lesson is None:
            raise campaign_invalid("lesson", "is needed to close: the five steps and the summary")
        for field in dataclasses.fields(lesson):
            if not getattr(lesson, field.name).strip():
                raise campaign_invalid(f"lesson.{field.name}", "is empty")


def _whole(brief: Brief) -> None:
    """R002-080: goal, audience, creative, budget, places and plan are there before a campaign is approved."""
    for name in ("goal", "audience", "creative", "plan"):
        if not getattr(brief, name).strip():
            raise campaign_invalid(f"brief.{name}", "is empty")
    if brief.budget_fen <= 0:
        raise campaign_invalid("brief.budget_fen", "must be above 0")
    if not brief.places:
        raise campaign_invalid("brief.places", "is empty")


def auction_day(campaigns: Sequence[Campaign], earliest: date) -> date | None:
    """The first business day from `earliest` on for which a campaign bids; None when none does."""
    days = [max(campaign.start_date, earliest) for campaign in campaigns]
    bidding = [day for day, campaign in zip(days, campaigns, strict=True) if campaign.bids_on(day)]
    return min(bidding, default=None)


def exclusion_classes(campaigns: Sequence[Campaign]) -> dict[str, int]:
    """Offer → class; a customer gets at most one contact of a class in a plan.

    Offers of the same product exclude each other, and so do offers of the same exclusive group; both together are
    taken transitively, so that the classes do not overlap and every customer's best set is found exactly.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    offers = [offer for campaign in campaigns for offer in campaign.offers]
    for offer in offers:
        product = root(f"product {offer.product_id}")
        if offer.exclusive_group:
            parent[root(f"group {offer.exclusive_group}")] = product
    numbers: dict[str, int] = {}
    return {offer.offer_id: numbers.setdefault(root(f"product {offer.product_id}"), len(numbers)) for offer in offers}


def in_order(channels: Sequence[str]) -> tuple[str, ...]:
    """The channels once each, in the platform's order."""
    return tuple(channel for channel in CHANNELS if channel in channels)


def _check(campaign: Campaign) -> None:
    if campaign.type not in TYPES:
        raise campaign_invalid("type", "is not in the catalogue of campaign types")
    if TYPES[campaign.type].needs_event_tag and (campaign.brief is None or not campaign.brief.event_tag):
        raise campaign_invalid("brief.event_tag", "is needed by this type of campaign")
    if campaign.pilot is not None:
        checked(campaign.pilot)
    if campaign.purpose not in PURPOSES:
        raise campaign_invalid("purpose", "is not one")
    if campaign.end_date < campaign.start_date:
        raise campaign_invalid("end_date", "is before start_date")
    if campaign.contacts_max is not None and campaign.contacts_min > campaign.contacts_max:
        raise campaign_invalid("contacts_min", "is more than contacts_max")
    if campaign.name != campaign.name.strip():
        raise campaign_invalid("name", "begins or ends with a space")
    products: set[str] = set()
    for index, offer in enumerate(campaign.offers):
        at = f"offers[{index}]"
        if offer.product_id in products:
            raise campaign_invalid(f"{at}.product_id", "is offered twice")
        products.add(offer.product_id)
        # The hand-over file separates its columns by pipes and its rows by line ends.
        for field in ("product_id", "content"):
            if any(mark in getattr(offer, field) for mark in _FORBIDDEN):
                raise campaign_invalid(f"{at}.{field}", "must not hold a pipe or a line break")
        if len(set(offer.channels)) != len(offer.channels):
            raise campaign_invalid(f"{at}.channels", "names a channel twice")
