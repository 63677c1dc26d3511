"""The auctions of a day: service before care before marketing, each with what those before it leave of the channels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from services.contact.domain import arbitration, auction
from services.contact.domain.auction import Audience, Bids, Matrix
from services.contact.domain.campaign import Campaign
from services.contact.domain.policy import CARE, MARKETING, SERVICE, Policy


@dataclass(frozen=True)
class Stage:
    """The auction of one purpose, and its plan."""

    bid: Bids
    solution: arbitration.Solution


def held(
    matrix: Matrix,
    campaigns: Sequence[Campaign],
    policy: Policy,
    audience: Audience,
    on: date,
    engine: str = arbitration.DUAL_PRICES,
) -> tuple[Stage, ...]:
    """The stages of a day; marketing is always one, the others when a campaign is for them. Raises plan_infeasible."""
    used = Counter(audience.used)
    stages = []
    for purpose in (SERVICE, CARE, MARKETING):
        if purpose != MARKETING and not any(one.purpose == purpose for one in campaigns):
            continue
        bid = auction.bids(matrix, campaigns, policy, replace(audience, used=used), on, purpose)
        solution = auction.auction(bid, engine)
        taken = bid.problem.usage(solution.picked)[0].tolist()
        used.update(dict(zip(bid.problem.channels, taken, strict=True)))
        stages.append(Stage(bid, solution))
    return tuple(stages)
