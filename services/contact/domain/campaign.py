"""A campaign: offers to customers over a period, with a control group that nobody contacts."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from services.contact.domain.policy import CHANNELS
from services.contact.refusals import campaign_changed, campaign_invalid, campaign_state

DRAFT, ACTIVE, CLOSED = "DRAFT", "ACTIVE", "CLOSED"
_FORBIDDEN = "|\r\n\x00"


@dataclass(frozen=True)
class Offer:
    """A product with terms, content and channels; `worth_fen` is what one opening is worth."""

    offer_id: str
    product_id: str
    content: str
    channels: tuple[str, ...]
    worth_fen: int
    exclusive_group: str


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

    @property
    def etag(self) -> str:
        """Changes with every change."""
        return hashlib.sha256(f"{self.campaign_id}|{self.revision}".encode()).hexdigest()[:16]

    def bids_on(self, day: date) -> bool:
        """Whether it bids for contacts of this business day."""
        return self.state == ACTIVE and self.start_date <= day <= self.end_date


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


def moved(campaign: Campaign, state: str, etag: str) -> Campaign:
    """The campaign in its next state. Raises campaign_changed, campaign_state."""
    if etag and etag != campaign.etag:
        raise campaign_changed(campaign.campaign_id)
    needed = {ACTIVE: DRAFT, CLOSED: ACTIVE}[state]
    if campaign.state != needed:
        raise campaign_state(campaign.campaign_id, campaign.state, needed)
    return dataclasses.replace(campaign, state=state, revision=campaign.revision + 1)


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
