"""SQL of the schema `contact`: one class per aggregate, domain values in and out; nothing here commits."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from services.contact.domain.auction import Audience
from services.contact.domain.campaign import Campaign
from services.contact.domain.policy import MARKETING
from services.contact.store.attributions import Attributions
from services.contact.store.benefits import Benefits, Forwards, Sends
from services.contact.store.campaigns import Campaigns, Policies
from services.contact.store.decisions import Decisions, Shards
from services.contact.store.knowledge import Knowledge, Pilots
from services.contact.store.orders import Orders
from services.contact.store.outcomes import Outcomes
from services.contact.store.persons import Persons
from services.contact.store.plans import Plans
from services.contact.store.prices import Prices
from services.contact.store.projections import Customers, Matrices
from services.contact.store.reach import Audiences, Moments
from services.contact.store.reports import Reports
from services.contact.store.slots import Pushes, SlotEvents, Slots
from services.contact.store.touchpoints import TouchPoints
from services.kit.db import Read


@dataclass(frozen=True)
class Store:
    """All aggregates."""

    policies: Policies = field(default_factory=Policies)
    campaigns: Campaigns = field(default_factory=Campaigns)
    matrices: Matrices = field(default_factory=Matrices)
    customers: Customers = field(default_factory=Customers)
    plans: Plans = field(default_factory=Plans)
    outcomes: Outcomes = field(default_factory=Outcomes)
    orders: Orders = field(default_factory=Orders)
    attributions: Attributions = field(default_factory=Attributions)
    pilots: Pilots = field(default_factory=Pilots)
    knowledge: Knowledge = field(default_factory=Knowledge)
    slots: Slots = field(default_factory=Slots)
    pushes: Pushes = field(default_factory=Pushes)
    slot_events: SlotEvents = field(default_factory=SlotEvents)
    reports: Reports = field(default_factory=Reports)
    decisions: Decisions = field(default_factory=Decisions)
    shards: Shards = field(default_factory=Shards)
    benefits: Benefits = field(default_factory=Benefits)
    sends: Sends = field(default_factory=Sends)
    forwards: Forwards = field(default_factory=Forwards)
    persons: Persons = field(default_factory=Persons)
    audiences: Audiences = field(default_factory=Audiences)
    moments: Moments = field(default_factory=Moments)
    prices: Prices = field(default_factory=Prices)
    touch_points: TouchPoints = field(default_factory=TouchPoints)

    async def audience(
        self,
        read: Read,
        on: date,
        window_days: int,
        campaigns: Sequence[Campaign],
        *,
        keys: Sequence[int] | None = None,
        but_plan: str = "",
    ) -> Audience:
        """All customers as they stand (or only some) for an auction of these campaigns on a day."""
        named = [one.campaign_id for one in campaigns]
        other = {one.purpose for one in campaigns} - {MARKETING}
        return replace(
            await self.customers.audience(read, on, window_days, keys=keys, but_plan=but_plan),
            members=await self.audiences.members(read, named),
            spent=await self.decisions.spent(read, [one.campaign_id for one in campaigns if one.budget_fen]),
            refusals=await self.customers.refusals(read, sorted(other)) if other else {},
            leanings=await self.outcomes.channel_leanings(read, on, keys),
        )
