"""What came of contacts: outcomes that may come late, twice and in any order, and the effect of a campaign."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.contact.domain.experiment import Rate, newcombe, wilson

UNRESOLVED = "token:"
"""Before an attribution token that stands where its contact is not known yet."""

RESPONDED, REFUSED, UNREACHED = "RESPONDED", "REFUSED", "UNREACHED"
RANK = {UNREACHED: 1, REFUSED: 2, RESPONDED: 3}

ATTRIBUTION = timedelta(days=30)
"""An opening counts for a contact when it follows within so long; the same for those held out."""


@dataclass(frozen=True)
class Outcome:
    """What came of one contact, as one report of it says; `source` names who reports."""

    contact_id: str
    result: str
    opened: bool
    open_time: datetime | None
    contact_time: datetime | None
    source: str


@dataclass(frozen=True)
class Kept:
    """An outcome as it is kept, and whether its contact was handed over."""

    outcome: Outcome
    matched: bool
    receive_time: datetime


def merged(one: Outcome, other: Outcome) -> Outcome:
    """Two reports of one contact as one: whichever comes first, and however often, the result is the same.

    The result of the later contact stands (at the same time the better one); an opening once reported stays, at its
    earliest time.
    """
    late, early = (one, other) if _order(one) >= _order(other) else (other, one)
    times = [outcome.open_time for outcome in (one, other) if outcome.open_time is not None]
    return Outcome(
        contact_id=late.contact_id,
        result=late.result,
        opened=one.opened or other.opened,
        open_time=min(times, default=None),
        contact_time=late.contact_time if late.contact_time is not None else early.contact_time,
        source=late.source,
    )


def _order(outcome: Outcome) -> tuple[float, int, str]:
    moment = outcome.contact_time.timestamp() if outcome.contact_time is not None else float("-inf")
    return moment, RANK[outcome.result], outcome.source


@dataclass(frozen=True)
class Tally:
    """What is counted for one offer of a campaign, over the plans that were handed over.

    `sent` and `controls` count customers, once each however often they won; `cost_fen` is that of every contact.
    """

    worth_fen: int
    sent: int
    responded: int
    opened: int
    controls: int
    control_opened: int
    cost_fen: int


@dataclass(frozen=True)
class Effect:
    """What one campaign achieved against its own control group; money in fen."""

    campaign_id: str
    name: str
    response: Rate
    opening: Rate
    control_opening: Rate
    lift: float
    difference: float
    difference_low: float
    difference_high: float
    cost_fen: int
    income_fen: int
    unmatched: int


def effect(campaign_id: str, name: str, tallies: Iterable[Tally], unmatched: int) -> Effect:
    """The effect of a campaign from the tallies of its offers.

    Income is the worth of the openings beyond what the control's rate (over all offers, since single offers have few
    controls) would have brought anyway; without a control group every opening counts, and the interval says so.
    """
    counted = list(tallies)
    sent = sum(tally.sent for tally in counted)
    opening = wilson(sum(tally.opened for tally in counted), sent)
    control = wilson(sum(tally.control_opened for tally in counted), sum(tally.controls for tally in counted))
    difference, low, high = newcombe(opening, control)
    income = sum(tally.worth_fen * (tally.opened - control.rate * tally.sent) for tally in counted)
    return Effect(
        campaign_id=campaign_id,
        name=name,
        response=wilson(sum(tally.responded for tally in counted), sent),
        opening=opening,
        control_opening=control,
        lift=opening.rate / control.rate if control.rate else 0.0,
        difference=difference,
        difference_low=low,
        difference_high=high,
        cost_fen=sum(tally.cost_fen for tally in counted),
        income_fen=round(income),
        unmatched=unmatched,
    )
