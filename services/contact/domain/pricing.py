"""Prices for the rest of a day: an auction of what is left of the limits, of which nothing comes but its prices."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, tzinfo

import numpy as np

from services.contact.domain import budget
from services.contact.domain.arbitration.problem import NO_LIMIT, Ints
from services.contact.domain.auction import Bids, Matrix
from services.contact.domain.campaign import Campaign
from services.contact.domain.policy import Policy

_LEAST_LEFT = 0.02
"""So close to the end of the day prices are not made anew."""
_SAMPLE = 50_000


def passed(policy: Policy, channel: str, now: datetime, zone: tzinfo) -> float:
    """The share (0 … 1) of a channel's open hours of the day that is over; "" is of the mean over all channels."""
    here = now.astimezone(zone)
    hours = here.hour + here.minute / 60 + here.second / 3600
    shares = [one.passed(hours) for one in policy.channel_limits if channel in ("", one.channel)]
    return sum(shares) / max(len(shares), 1)


def quotas_of(policy: Policy, campaigns: Sequence[Campaign], on: date) -> dict[str, str]:
    """Limit of a plan → the quota of the day that keeps it."""
    channels = {f"capacity {one.channel}": f"channel {one.channel} {on}" for one in policy.channel_limits}
    return channels | {f"max {one.name}": f"campaign {one.campaign_id} {on}" for one in campaigns}


def expected(matrix: Matrix, campaigns: Sequence[Campaign]) -> float:
    """The mean of acceptance × worth over a matrix and the offers that bid, in fen: what a bid is worth by it."""
    worth = {offer.product_id: float(offer.worth_fen) for one in campaigns for offer in one.offers}
    of = np.array([worth.get(product, 0.0) for product in matrix.products])
    offered = of[matrix.product] > 0 if len(of) else np.zeros(0, np.bool_)
    if not offered.any():
        return 0.0
    return float(np.mean(matrix.score[offered] * of[matrix.product[offered]]))


def rest_of_day(bid: Bids, used: Mapping[str, int], passed: float) -> dict[str, float] | None:
    """Prices by limit for the rest of a day of which `passed` (0 … 1) is over, or None when hardly any is left.

    Who comes in the rest is a share 1 − passed of everybody, so everybody is priced under limits as much larger.
    `used` are contacts of the day by campaign; what channels carried is taken off the bids' capacities already.
    Raises plan_infeasible.
    """
    left = 1.0 - passed
    if left < _LEAST_LEFT:
        return None
    problem = bid.problem
    went = np.array([used.get(name, 0) for name in problem.campaigns], np.int64)
    step = max(1, problem.customers // _SAMPLE)
    part = problem.sample(step) if step > 1 else problem
    scale = left * step
    priced = replace(
        part,
        capacity=_scaled(problem.capacity, 0, scale),
        most=_scaled(problem.most, went, scale),
        least=np.floor(np.maximum(problem.least - went, 0) / scale).astype(np.int64),
    )
    solution = budget.solve(priced, bid.cost, _scaled(bid.budget, 0, scale))
    return {row.name: row.price for row in solution.rows if row.price}


def _scaled(bound: Ints, used: Ints | int, scale: float) -> Ints:
    return np.where(bound < 0, NO_LIMIT, np.round(np.maximum(bound - used, 0) / scale)).astype(np.int64)
