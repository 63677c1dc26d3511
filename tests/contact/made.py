"""Policies, campaigns, audiences and problems with defaults, so that a test says only what it is about."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from services.contact.domain.arbitration.problem import Problem, from_columns
from services.contact.domain.auction import Audience, Customer, Matrix
from services.contact.domain.campaign import ACTIVE, Campaign, Offer
from services.contact.domain.outcome import Outcome
from services.contact.domain.policy import ChannelLimit, CustomerCap, Earlier, Policy

DAY = date(2026, 10, 1)


def limit(channel: str = "sms", **changes: Any) -> ChannelLimit:
    told: dict[str, Any] = {
        "capacity": None,
        "cost_fen": 5,
        "quiet_from_hour": 21,
        "quiet_to_hour": 9,
        "lift_bps": 10_000,
    }
    return ChannelLimit(channel=channel, **(told | changes))


def policy(*limits: ChannelLimit, most: int | None = 1, holdout_bps: int = 0, **changes: Any) -> Policy:
    told: dict[str, Any] = {"customer_caps": (CustomerCap("", most, 30),)}
    return Policy(channel_limits=limits or (limit(),), holdout_bps=holdout_bps, **(told | changes))


def offer(product_id: str = "P01", *, channels: tuple[str, ...] = ("sms",), **changes: Any) -> Offer:
    told: dict[str, Any] = {
        "offer_id": f"offer-{product_id}",
        "content": "10GB流量包首月半价",
        "worth_fen": 10_000,
        "exclusive_group": "",
    }
    return Offer(product_id=product_id, channels=channels, **(told | changes))


def campaign(name: str = "秋季", *offers: Offer, **changes: Any) -> Campaign:
    told: dict[str, Any] = {
        "campaign_id": f"campaign-{name}",
        "start_date": date(2026, 9, 1),
        "end_date": date(2026, 12, 31),
        "control_bps": 0,
        "contacts_max": None,
        "contacts_min": 0,
        "state": ACTIVE,
    }
    return Campaign(name=name, offers=offers or (offer(),), **(told | changes))


def matrix(scores: Mapping[tuple[int, str], float]) -> Matrix:
    products = tuple(sorted({product for _, product in scores}))
    return Matrix(
        customer=np.array([key for key, _ in scores], np.int64),
        product=np.array([products.index(product) for _, product in scores], np.int32),
        score=np.array(list(scores.values())),
        products=products,
    )


def audience(
    customers: Sequence[int],
    *,
    channels: Sequence[str] = ("sms", "call", "app"),
    level: str = "B",
    status: str = "active",
    earlier: Mapping[int, Earlier] | None = None,
) -> Audience:
    return Audience(
        customers={key: Customer("G01", level, status) for key in customers},
        consents={channel: np.array(sorted(customers), np.int64) for channel in channels},
        earlier=earlier or {},
    )


def outcome(contact_id: str, result: str = "RESPONDED", **changes: Any) -> Outcome:
    told: dict[str, Any] = {
        "opened": False,
        "open_time": None,
        "contact_time": datetime(2026, 10, 1, 4, tzinfo=UTC),
        "source": "feedback",
    }
    return Outcome(contact_id=contact_id, result=result, **(told | changes))


def problem(
    candidates: Sequence[tuple[int, int, int, float]],
    *,
    cap: Sequence[int],
    group_of: Sequence[int],
    capacity: Sequence[int],
    most: Sequence[int],
    least: Sequence[int],
) -> Problem:
    """A problem from (customer, campaign, channel, value); the campaigns are offers of the groups `group_of`."""
    customer, offers, channel, value = (np.array(column) for column in zip(*candidates, strict=True))
    kinds = np.arange(len(group_of) * len(capacity))
    made, _ = from_columns(
        customer=customer.astype(np.int64),
        kind=offers.astype(np.int64) * len(capacity) + channel.astype(np.int64),
        value=value.astype(np.float64),
        group_of=np.array(group_of, np.int32)[kinds // len(capacity)],
        channel_of=kinds % len(capacity),
        campaign_of=kinds // len(capacity),
        cap=np.array(cap, np.int32),
        capacity=capacity,
        most=most,
        least=least,
        channels=[f"channel{index}" for index in range(len(capacity))],
        campaigns=[f"offer{index}" for index in range(len(most))],
    )
    return made
