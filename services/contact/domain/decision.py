"""What may be shown or sent to this customer here and now: the best bids that the rules allow, place by place."""

import heapq
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

import numpy as np

from services.contact.domain.auction import Matrix
from services.contact.domain.campaign import Campaign, Offer, exclusion_classes
from services.contact.domain.experiment import Flags, Floats, Ints, held_out
from services.contact.domain.membership import Members
from services.contact.domain.policy import CARE, COOLDOWN, MARKETING, SERVICE, Asked, Policy, Touch
from services.contact.domain.reservation import Bound, Kind, bounds

NOTHING = "nothing to offer"
QUOTA = "capacity"
"""Why the default is shown, where no rule forbids an offer."""


class Place(NamedTuple):
    """Where something may be shown or by what it may be sent; `slot_id` "" is a send through the channel."""

    slot_id: str
    channel: str


class Bid(NamedTuple):
    """An offer's bid for the place number `at` of a request, in fen, with the words of its content."""

    campaign: Campaign
    offer: Offer
    at: int
    place: Place
    fen: float


class Choice(NamedTuple):
    """What a place gets: a bid that won, or the reason why none did."""

    place: Place
    bid: Bid | None
    reason: str = ""


class Scores:
    """The acceptances of a matrix by customer, in memory: 6 bytes a row; the last rows are the means of all."""

    def __init__(self, matrix: Matrix) -> None:
        order = np.argsort(matrix.customer, kind="stable")
        self._keys, starts = np.unique(matrix.customer[order], return_index=True)
        products = len(matrix.products)
        means = np.bincount(matrix.product, matrix.score, products) / max(len(self._keys), 1)
        self._starts = np.concatenate([starts, [len(order), len(order) + products]]).astype(np.int64)
        self._product = np.concatenate([matrix.product[order], np.arange(products)]).astype(np.uint16)
        self._score = np.concatenate([matrix.score[order], means]).astype(np.float32)
        self.products = matrix.products

    def rows(self, customers: Ints, apart: Flags) -> tuple[Ints, Ints, Floats]:
        """Place in `customers` [N], product and acceptance of every score; who is not told `apart` has the means."""
        if not len(self._keys):
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        at = np.minimum(np.searchsorted(self._keys, customers), len(self._keys) - 1)
        known = self._keys[at] == customers
        at = np.where(apart, at, len(self._keys))
        count = np.where(known | ~apart, self._starts[at + 1] - self._starts[at], 0)
        owner, where = _spread(self._starts[at], count)
        return owner, self._product[where].astype(np.int64), self._score[where].astype(np.float64)


NOBODY = Scores(Matrix(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0), ()))


URGENCY = {SERVICE: 0, CARE: 1, MARKETING: 2}
"""Service goes before care, and care before marketing, whatever they bid."""


@dataclass(frozen=True)
class Wares:
    """The offers that bid for a channel on a day, as columns [J], sorted by product: those of product p stand at
    `starts`[p] … `starts`[p + 1]. `rank` orders equal bids; lift scales an acceptance; money is in fen."""

    offers: tuple[tuple[Campaign, Offer], ...]
    starts: Ints
    campaign: Ints
    urgency: Ints
    rank: Ints
    worth: Floats
    price: Floats
    lift_bps: int
    cost_fen: int


class Ranking:
    """The bids of many customers for one channel, each one's best first: those of the customer number i are `entries`
    (numbers of wares) and `fens` from `starts`[i] to `starts`[i + 1]."""

    def __init__(self, wares: Wares, starts: list[int], entries: list[int], fens: list[float]) -> None:
        self.wares = wares
        self.starts = starts
        self.entries = entries
        self.fens = fens

    def bids(self, customer: int, at: int, place: Place) -> Iterator[Bid]:
        """The bids of the customer number `customer` for a place."""
        for index in range(self.starts[customer], self.starts[customer + 1]):
            campaign, offer = self.wares.offers[self.entries[index]]
            yield Bid(campaign, offer, at, place, self.fens[index])


@dataclass(frozen=True)
class Prices:
    """Dual prices in fen, by channel and by campaign name; of a budget for each fen that a contact costs."""

    channel: Mapping[str, float] = field(default_factory=dict)
    campaign: Mapping[str, float] = field(default_factory=dict)
    budget: Mapping[str, float] = field(default_factory=dict)

    def of(self, channel: str, campaign: Campaign, cost_fen: int) -> float:
        """What a contact pays; service and care pay nothing."""
        if campaign.purpose != MARKETING:
            return 0.0
        paid = self.channel.get(channel, 0.0) + self.campaign.get(campaign.name, 0.0)
        return paid + cost_fen * self.budget.get(campaign.name, 0.0)


@dataclass(frozen=True)
class Book:
    """What decisions go by, the same for many of them: rules, offers, prices, scores, and who is in an audience.

    `prices` are those of the last plan, moved by the pace of the day.
    """

    policy: Policy
    campaigns: tuple[Campaign, ...]
    prices: Prices = Prices()
    scores: Scores = NOBODY
    members: Mapping[str, Members] = field(default_factory=dict)
    classes: Mapping[str, int] = field(init=False)
    moments: bool = field(init=False)
    """Whether any campaign waits for a moment."""
    quotas: dict[tuple[str, str, date, int], tuple[str, ...]] = field(default_factory=dict)
    """The names of what a contact draws on, by channel, campaign, day and hour, as they were needed."""
    kinds: dict[tuple[Hashable, ...], Kind] = field(default_factory=dict)
    """What decisions have in common, as it was needed."""
    _wares: dict[tuple[str, date], Wares] = field(default_factory=dict)
    _bounds: dict[tuple[date, int], dict[str, Bound]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", exclusion_classes(self.campaigns))
        object.__setattr__(self, "moments", any(one.moments for one in self.campaigns))

    def rankings(
        self,
        customers: Ints,
        apart: Flags,
        channels: Collection[str],
        on: date,
        happening: Sequence[Collection[str]] = (),
    ) -> dict[str, Ranking]:
        """Channel → all bids above 0 of these customers [N]: acceptance × worth − cost − the prices.

        Customers that are not told `apart` (nobody known, or no profile wanted) are taken by the means of all. A
        campaign does not bid for its control, nor outside of its audience, its pilot, and of its moments (`happening`
        [N] are each customer's).
        """
        rows = self.scores.rows(customers, apart)
        barred = self._barred(customers, happening)
        return {
            channel: _ranked(self.wares(channel, on), rows, barred, len(customers))
            for channel in channels
            if self.policy.limit(channel) is not None
        }

    def bounds(self, on: date, hour: int) -> Mapping[str, Bound]:
        """Every quota of an hour by name."""
        found = self._bounds.get((on, hour))
        if found is None:
            found = self._bounds[on, hour] = bounds(self.policy, self.campaigns, on, hour)
        return found

    def wares(self, channel: str, on: date) -> Wares:
        """What bids for a channel on a day: put together once."""
        found = self._wares.get((channel, on))
        if found is None:
            found = self._wares[channel, on] = self._gathered(channel, on)
        return found

    def _gathered(self, channel: str, on: date) -> Wares:
        number = {product: index for index, product in enumerate(self.scores.products)}
        limit = self.policy.limit(channel)
        assert limit is not None, channel
        told = [
            (number[offer.product_id], offer.offer_id, index, campaign, offer)
            for index, campaign in enumerate(self.campaigns)
            if campaign.bids_on(on)
            for offer in campaign.offers
            if channel in offer.channels and offer.product_id in number
        ]
        told.sort(key=lambda one: one[:2])
        ids = sorted(one[1] for one in told)
        rank = {offer_id: index for index, offer_id in enumerate(ids)}
        cost = limit.cost_fen
        return Wares(
            offers=tuple((campaign, offer) for *_, campaign, offer in told),
            starts=np.searchsorted([one[0] for one in told], np.arange(len(number) + 1)).astype(np.int64),
            campaign=np.array([one[2] for one in told], np.int64),
            urgency=np.array([URGENCY[one[3].purpose] for one in told], np.int64),
            rank=np.array([rank[one[1]] for one in told], np.int64),
            worth=np.array([offer.worth_fen for *_, offer in told], np.float64),
            price=np.array([self.prices.of(channel, one[3], cost) for one in told], np.float64),
            lift_bps=limit.lift_bps,
            cost_fen=cost,
        )

    def _barred(self, customers: Ints, happening: Sequence[Collection[str]]) -> Flags | None:
        """[campaigns, N]: whom a campaign does not contact: control, outside of it, or not now; None: nobody."""
        barred: Flags | None = None
        for index, campaign in enumerate(self.campaigns):
            reached = campaign.reaches(customers, self.members)
            if campaign.control_bps:
                reached = reached & ~held_out(f"control {campaign.name}", customers, campaign.control_bps)
            if campaign.moments:
                now = [not campaign.moments.isdisjoint(one) for one in happening]
                reached = reached & (np.array(now, np.bool_) if now else np.zeros(len(customers), np.bool_))
            if not reached.all():
                barred = np.zeros((len(self.campaigns), len(customers)), np.bool_) if barred is None else barred
                barred[index] = ~reached
        return barred


def _spread(starts: Ints, count: Ints) -> tuple[Ints, Ints]:
    """Ranges written out: for each element of the ranges starts … starts + count its range, and itself."""
    owner = np.repeat(np.arange(len(count)), count)
    first = np.cumsum(count) - count
    return owner, np.arange(len(owner)) - first[owner] + starts[owner]


def _ranked(wares: Wares, rows: tuple[Ints, Ints, Floats], barred: Flags | None, customers: int) -> Ranking:
    owner, product, score = rows
    row, entry = _spread(wares.starts[product], wares.starts[product + 1] - wares.starts[product])
    acceptance = np.minimum(score[row] * wares.lift_bps / 10_000, 1.0)
    fen = acceptance * wares.worth[entry] - wares.cost_fen - wares.price[entry]
    urgency = wares.urgency[entry]
    keep = (fen > 0) | (urgency < URGENCY[MARKETING])
    if barred is not None:
        keep &= ~barred[wares.campaign[entry], owner[row]]
    who, entry, fen, urgency = owner[row[keep]], entry[keep], fen[keep], urgency[keep]
    order = np.lexsort((wares.rank[entry], -fen, urgency, who))
    starts = np.searchsorted(who, np.arange(customers + 1))
    return Ranking(wares, starts.tolist(), entry[order].tolist(), fen[order].tolist())


def merged(rankings: Mapping[str, Ranking], customer: int, places: Sequence[Place]) -> Iterable[Bid]:
    """All bids of a customer for his places, the highest first."""
    found = [
        rankings[place.channel].bids(customer, at, place)
        for at, place in enumerate(places)
        if place.channel in rankings
    ]
    return found[0] if len(found) == 1 else heapq.merge(*found, key=_order)


def _order(bid: Bid) -> tuple[int, float, str, int]:
    """The highest first; of places that are alike the one that was asked for first gets it."""
    return URGENCY[bid.campaign.purpose], -bid.fen, bid.offer.offer_id, bid.at


def lasting(reason: str, purpose: str) -> bool:
    """Whether no other bid of a customer can have the place either, since his best one was refused so."""
    return purpose == MARKETING and reason not in ("", COOLDOWN)


def chosen(
    book: Book,
    bids: Iterable[Bid],
    places: Sequence[Place],
    customer: Asked,
    on: date,
    hour: int,
    take: Callable[[Bid], bool],
) -> list[Choice]:
    """The choice for each place, in their order: the highest bids first, as long as the rules allow one more contact.

    No offer, and no two that exclude each other, are given twice. `take` uses up a quota, or says that there is none.
    """
    won: dict[int, Bid] = {}
    reasons: dict[int, str] = {}
    over: set[int] = set()  # places that are taken, or that no other bid can have either
    taken: set[int] = set()
    for bid in bids:
        if bid.at in over or book.classes[bid.offer.offer_id] in taken:
            continue
        wish = bid.offer.wish(bid.place.channel, bid.campaign.purpose)
        reason = book.policy.refusal(customer, wish, on, hour)
        final = lasting(reason, wish.purpose)
        if not reason and not take(bid):
            reason = QUOTA
        if reason:
            reasons.setdefault(bid.at, reason)
        else:
            won[bid.at] = bid
            taken.add(book.classes[bid.offer.offer_id])
            if len(places) > 1:
                touch = Touch(on, 1, wish.channel, wish.purpose, wish.product_id, wish.exclusive_group)
                customer = customer.after(touch)
        if final or not reason:
            over.add(bid.at)
            if len(over) == len(places):
                break
    return [
        Choice(place, won.get(at), "" if at in won else reasons.get(at, NOTHING)) for at, place in enumerate(places)
    ]
