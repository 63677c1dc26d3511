"""What a plan would come to under other limits, and how one customer's bids fare at a plan's prices."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from services.contact.domain import arbitration
from services.contact.domain.arbitration import explanation
from services.contact.domain.auction import Bids


@dataclass(frozen=True)
class Volume:
    """What a channel or a campaign gets; `part` of the value that it asked for (0 for a channel)."""

    name: str
    contacts: int
    value_fen: float
    part: float


@dataclass(frozen=True)
class Trial:
    """A plan's figures; `infeasible` names the limits that block each other when there is no plan."""

    objective_fen: float = 0.0
    bound_fen: float = 0.0
    contacts: int = 0
    candidates: int = 0
    volumes: tuple[Volume, ...] = ()
    prices: Mapping[str, float] = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    evenness: float = 1.0
    infeasible: tuple[str, ...] = ()


def trial(bid: Bids, solution: arbitration.Solution) -> Trial:
    """The figures of a solved auction."""
    problem = bid.problem
    kind, value = problem.kind[solution.picked], problem.value[solution.picked]
    channel = problem.channel_of[kind]
    channels = [
        Volume(f"channel {name}", int(np.sum(channel == at)), float(value[channel == at].sum()), 0.0)
        for at, name in enumerate(problem.channels)
    ]
    shares = explanation.shares(problem, solution.picked)
    campaigns = [Volume(f"campaign {one.name}", one.contacts, one.won, one.part) for one in shares]
    return Trial(
        objective_fen=solution.objective,
        bound_fen=solution.bound,
        contacts=int(solution.picked.sum()),
        candidates=problem.candidates,
        volumes=(*channels, *campaigns),
        prices={row.name: row.price for row in solution.rows if row.price},
        outcomes=explanation.reasons(problem, solution.prices, solution.picked),
        evenness=explanation.evenness(shares),
    )


@dataclass(frozen=True)
class Fate:
    """What became of one bid for a customer."""

    offer_id: str
    campaign_id: str
    channel: str
    value_fen: float
    reason: str
    lost_to: str
    short_fen: float


def fates(bid: Bids, prices: Mapping[str, float], won: set[tuple[str, str]]) -> list[Fate]:
    """How the bids of an auction fare at a plan's prices (by the names of its limits), the most valuable first.

    `won` are the (offer, channel) pairs that the plan holds.
    """
    problem = bid.problem
    paid = np.array(
        [
            *[prices.get(f"capacity {name}", 0.0) for name in problem.channels],
            *[prices.get(f"max {name}", 0.0) + prices.get(f"min {name}", 0.0) for name in problem.campaigns],
        ]
    )
    offers = [bid.offers[index] for index in bid.offer.tolist()]
    channels = [problem.channels[at] for at in problem.channel.tolist()]
    picked = np.array(
        [(offer.offer_id, way) in won for (_, offer), way in zip(offers, channels, strict=True)], np.bool_
    )
    told = explanation.losses(problem, paid, picked)
    found = []
    for at, ((campaign, offer), channel) in enumerate(zip(offers, channels, strict=True)):
        rival = int(told.rival[at])
        found.append(
            Fate(
                offer_id=offer.offer_id,
                campaign_id=campaign.campaign_id,
                channel=channel,
                value_fen=float(problem.value[at]),
                reason=explanation.REASONS[told.reason[at]],
                lost_to=offers[rival][1].offer_id if rival >= 0 else "",
                short_fen=float(told.short[at]),
            )
        )
    return sorted(found, key=lambda one: (-one.value_fen, one.offer_id, one.channel))
