"""An independent look at a plan: plain counting over plain values, sharing nothing with the solver."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Won:
    """One contact of a plan as the checker sees it; the fields are names, whatever the caller calls them."""

    customer: int | str
    group: int | str
    channel: str
    campaign: str


@dataclass(frozen=True)
class Limits:
    """What a plan must keep to; what is not listed is not limited, except a customer without a cap, who has none."""

    cap: Mapping[Any, int]
    capacity: Mapping[str, int] = field(default_factory=dict)
    most: Mapping[str, int] = field(default_factory=dict)
    least: Mapping[str, int] = field(default_factory=dict)


def violations(contacts: Iterable[Won], limits: Limits) -> dict[str, int]:
    """By how many contacts the plan breaks each kind of limit: cap, group, channel, max, min."""
    customers: Counter[int | str] = Counter()
    groups: Counter[tuple[int | str, int | str]] = Counter()
    channels: Counter[str] = Counter()
    campaigns: Counter[str] = Counter()
    for contact in contacts:
        customers[contact.customer] += 1
        groups[contact.customer, contact.group] += 1
        channels[contact.channel] += 1
        campaigns[contact.campaign] += 1
    return {
        "cap": sum(max(0, used - limits.cap.get(who, 0)) for who, used in customers.items()),
        "group": sum(used - 1 for used in groups.values()),
        "channel": sum(max(0, channels[name] - bound) for name, bound in limits.capacity.items()),
        "max": sum(max(0, campaigns[name] - bound) for name, bound in limits.most.items()),
        "min": sum(max(0, bound - campaigns[name]) for name, bound in limits.least.items()),
    }
