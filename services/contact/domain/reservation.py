"""Grants: a customer's attention reserved for one contact, used once or not at all; and the quotas they draw on.

reserved → confirmed | cancelled | expired, and nothing leads back. What counts for caps is confirmed, or reserved and
not expired; a reservation that nobody confirms in time ends by itself and counts no more.
"""

import hashlib
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from services.contact.domain.policy import Policy

RESERVED, CONFIRMED, CANCELLED, EXPIRED = "RESERVED", "CONFIRMED", "CANCELLED", "EXPIRED"
SHOWN = "SHOWN"
"""State of a decision without a grant: the default was shown."""

LIFE = timedelta(minutes=10)
"""How long a grant waits to be confirmed."""


class Decided(NamedTuple):
    """What was decided for one place of one request, and kept; without an offer the default was shown."""

    grant_id: str
    fingerprint: str
    customer_key: int
    org_id: str
    state: str
    business_day: date
    slot_id: str
    channel: str
    purpose: str
    campaign_id: str
    offer_id: str
    product_id: str
    exclusive_group: str
    content: str
    reason: str
    bid_fen: float
    decide_time: datetime
    expire_time: datetime
    shard: int
    quotas: tuple[str, ...]

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


def quotas(
    policy: Policy, channel: str, on: date, hour: int, campaign_id: str, contacts_max: int | None
) -> tuple[Quota, ...]:
    """What a contact draws on: its channel's day and hour, and its campaign's day, as far as they are bounded."""
    limit = policy.limit(channel)
    found = []
    if limit is not None and limit.daily_capacity is not None:
        found.append(Quota(f"channel {channel} {on}", limit.daily_capacity))
    if limit is not None and limit.hourly_capacity is not None:
        found.append(Quota(f"hour {channel} {on} {hour:02d}", limit.hourly_capacity))
    if contacts_max is not None:
        found.append(Quota(f"campaign {campaign_id} {on}", contacts_max))
    return tuple(found)


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

    def wanted(self, names: list[str], least: int, now: float) -> list[str]:
        """Which of these have fewer units than `least` and are worth asking for."""
        return [name for name in dict.fromkeys(names) if self.free(name) < least and self._dry.get(name, 0.0) <= now]

    def take(self, names: tuple[str, ...]) -> bool:
        """Use one unit of each, or none of any."""
        if any(self.free(name) <= 0 for name in names):
            return False
        for name in names:
            self._free[name] -= 1
        return True

    def give(self, names: tuple[str, ...]) -> None:
        """Units that were taken for nothing."""
        for name in names:
            self._free[name] = self.free(name) + 1

    def clear(self) -> None:
        """Forget all: the lease is lost."""
        self._free.clear()
        self._dry.clear()
