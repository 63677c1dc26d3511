"""Grants: a customer's attention reserved for one contact, used once or not at all; and the quotas they draw on.

reserved → confirmed | cancelled | expired, and nothing leads back. What counts for caps is confirmed, or reserved and
not expired; a reservation that nobody confirms in time ends by itself and counts no more.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from services.contact.domain.campaign import Campaign
from services.contact.domain.policy import Policy

RESERVED, CONFIRMED, CANCELLED, EXPIRED = "RESERVED", "CONFIRMED", "CANCELLED", "EXPIRED"
SHOWN = "SHOWN"
"""State of a decision without a grant: the default was shown."""

LIFE = timedelta(minutes=10)
"""How long a grant waits to be confirmed."""


class Kind(NamedTuple):
    """What many decisions have in common; without an offer the default was shown."""

    org_id: str
    state: str
    slot_id: str
    channel: str
    purpose: str
    campaign_id: str
    offer_id: str
    product_id: str
    exclusive_group: str
    content: str
    reason: str
    quotas: tuple[str, ...]


class Decided(NamedTuple):
    """What was decided for one place of one request, and kept."""

    grant_id: str
    fingerprint: str
    customer_key: int
    bid_fen: float
    kind: Kind
    business_day: date
    decide_time: datetime
    expire_time: datetime
    shard: int

    @property
    def state(self) -> str:
        """Its state as kept."""
        return self.kind.state

    @property
    def offer_id(self) -> str:
        """The offer that won; "" for the default."""
        return self.kind.offer_id

    @property
    def content(self) -> str:
        """What is shown or sent."""
        return self.kind.content

    @property
    def reason(self) -> str:
        """Why the default is shown; "" otherwise."""
        return self.kind.reason

    def moved(self, state: str) -> "Decided":
        """The same in another state."""
        return self._replace(kind=self.kind._replace(state=state))

    def state_at(self, now: datetime) -> str:
        """Its state; a reservation that nobody confirmed expires by itself."""
        return EXPIRED if self.state == RESERVED and self.expire_time <= now else self.state


def grant_id(caller: str, request_id: str, number: int) -> str:
    """The id of what is decided for a request's place: 128 bits of SHA-256, hex, so that asking again finds it."""
    return hashlib.sha256(f"{caller}|{request_id}|{number}".encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Quota:
    """Something that all replicas together may use so often."""

    name: str
    capacity: int


def weighed(name: str) -> tuple[str, int]:
    """A quota's name and how many of its units a contact draws: `name*units`, or one unit of `name`."""
    base, _, units = name.partition("*")
    return base, int(units or 1)


def quotas(policy: Policy, channel: str, on: date, hour: int, campaign: Campaign | None = None) -> tuple[Quota, ...]:
    """What a contact draws on: its channel's day and hour, its campaign's day, and its budget in fen, as far as they
    are bounded."""
    limit = policy.limit(channel)
    found = []
    if limit is not None and limit.daily_capacity is not None:
        found.append(Quota(f"channel {channel} {on}", limit.daily_capacity))
    if limit is not None and limit.hourly_capacity is not None:
        found.append(Quota(f"hour {channel} {on} {hour:02d}", limit.hourly_capacity))
    if campaign is not None and campaign.contacts_max is not None:
        found.append(Quota(f"campaign {campaign.campaign_id} {on}", campaign.contacts_max))
    cost = limit.cost_fen if limit is not None else 0
    if campaign is not None and campaign.budget_fen and cost:
        found.append(Quota(f"budget {campaign.campaign_id}*{cost}", campaign.budget_fen))
    return tuple(found)


class Bound(NamedTuple):
    """A quota's capacity, and the most that one contact draws of it."""

    capacity: int
    most: int


def bounds(policy: Policy, campaigns: Sequence[Campaign], on: date, hour: int) -> dict[str, Bound]:
    """Every quota of an hour by name."""
    found: dict[str, Bound] = {}
    for limit in policy.channel_limits:
        for campaign in (None, *campaigns):
            for one in quotas(policy, limit.channel, on, hour, campaign):
                name, units = weighed(one.name)
                found[name] = Bound(one.capacity, max(units, found[name].most if name in found else 1))
    return found


class Blocks:
    """Units of quotas that this process has leased and not used yet."""

    def __init__(self) -> None:
        self._free: dict[str, int] = {}
        self._dry: dict[str, float] = {}

    def free(self, name: str) -> int:
        """Units at hand."""
        return self._free.get(name, 0)

    def add(self, name: str, units: int, now: float) -> None:
        """Units were leased; none means that the quota is used up, which is not asked again for a second."""
        self._free[name] = self.free(name) + units
        if not units:
            self._dry[name] = now + 1.0

    def wanted(self, least: Mapping[str, int], now: float) -> list[str]:
        """Which of these have fewer units than `least` and are worth asking for."""
        return [name for name in least if self.free(name) < least[name] and self._dry.get(name, 0.0) <= now]

    def take(self, names: tuple[str, ...]) -> bool:
        """Use what a contact draws of each, or none of any."""
        drawn = [weighed(name) for name in names]
        if any(self.free(name) < units for name, units in drawn):
            return False
        for name, units in drawn:
            self._free[name] = self.free(name) - units
        return True

    def give(self, names: tuple[str, ...]) -> None:
        """Units that were taken for nothing."""
        for name, units in map(weighed, names):
            self._free[name] = self.free(name) + units

    def clear(self) -> None:
        """Forget all: the lease is lost."""
        self._free.clear()
        self._dry.clear()
