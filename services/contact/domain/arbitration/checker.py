"""An independent look at a plan: plain counting over plain values, sharing nothing with the solver."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


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


@dataclass(frozen=True)
class Columns:
    """A plan as columns [P] of numbers, for plans too large to look at contact by contact; days are optional."""

    customer: NDArray[Any]
    group: NDArray[Any]
    channel: NDArray[Any]
    campaign: NDArray[Any]
    medium: NDArray[Any] | None = None
    day: NDArray[Any] | None = None


def counted(
    plan: Columns,
    cap: NDArray[Any],
    capacity: NDArray[Any],
    most: NDArray[Any],
    least: NDArray[Any],
    *,
    spacing: int = 0,
) -> dict[str, int]:
    """The same count over columns; bounds below 0 are none. With days, `day` counts contacts too close together."""

    def over(used: NDArray[Any], bound: NDArray[Any]) -> int:
        return int(np.maximum(used - bound, 0)[bound >= 0].sum())

    channels = np.bincount(plan.channel, minlength=len(capacity))
    campaigns = np.bincount(plan.campaign, minlength=len(most))
    pairs = plan.customer.astype(np.int64) * (int(plan.group.max(initial=0)) + 1) + plan.group
    if np.any(pairs[1:] < pairs[:-1]):
        pairs = np.sort(pairs)
    found = {
        "cap": over(np.bincount(plan.customer, minlength=len(cap)), cap),
        "group": int(np.sum(pairs[1:] == pairs[:-1])),
        "channel": over(channels, capacity),
        "max": over(campaigns, most),
        "min": int(np.maximum(least - campaigns, 0).sum()),
    }
    if plan.day is not None and plan.medium is not None:
        found["day"] = _too_close(plan.customer, plan.day, plan.medium, spacing)
    return found


def _too_close(customer: NDArray[Any], day: NDArray[Any], medium: NDArray[Any], spacing: int) -> int:
    """Contacts on a day that the customer has one on already, or too soon after one through the same medium."""
    order = np.lexsort((day, customer))
    again = (np.diff(customer[order]) == 0) & (np.diff(day[order]) == 0)
    order = np.lexsort((day, medium, customer))
    same = (np.diff(customer[order]) == 0) & (np.diff(medium[order]) == 0)
    between = np.diff(day[order])
    return int(np.sum(again) + np.sum(same & (between > 0) & (between < spacing)))
