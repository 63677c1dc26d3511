"""What may be shown or sent to this customer here and now: the best bids that the rules allow, place by place."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from services.contact.domain.auction import Matrix
from services.contact.domain.campaign import Campaign, Offer, exclusion_classes
from services.contact.domain.policy import Asked, Policy, Touch, Wish

NOTHING = "nothing to offer"
QUOTA = "capacity"
"""Why the default is shown, where no rule forbids an offer."""


@dataclass(frozen=True)
class Place:
    """Where something may be shown or by what it may be sent; `slot_id` "" is a send through the channel."""

    slot_id: str
    channel: str


@dataclass(frozen=True)
class Bid:
    """An offer's bid for a place, in fen, with the words of its content."""

    campaign: Campaign
    offer: Offer
    place: Place
    fen: float


@dataclass(frozen=True)
class Choice:
    """What a place gets: a bid that won, or the reason why none did."""

    place: Place
    bid: Bid | None
    reason: str = ""


class Scores:
    """The acceptances of a matrix by customer, in memory: 6 bytes a row."""

    def __init__(self, matrix: Matrix) -> None:
        order = np.argsort(matrix.customer, kind="stable")
        self._keys, starts = np.unique(matrix.customer[order], return_index=True)
        self._starts = np.append(starts, len(order))
        self._product = matrix.product[order].astype(np.uint16)
        self._score = matrix.score[order].astype(np.float32)
        self.products = matrix.products
        total = np.bincount(matrix.product, matrix.score, len(matrix.products))
        people = max(len(self._keys), 1)
        self.means: Mapping[str, float] = dict(zip(matrix.products, (total / people).tolist(), strict=True))
        """What a product's acceptance is over all customers: what is used when nobody is to be told apart."""

    def of(self, customer_key: int) -> dict[str, float]:
        """Product → acceptance of one customer; empty when he is not in the matrix."""
        at = int(np.searchsorted(self._keys, customer_key))
        if at == len(self._keys) or self._keys[at] != customer_key:
            return {}
        part = slice(self._starts[at], self._starts[at + 1])
        products, scores = self._product[part].tolist(), self._score[part].tolist()
        return {self.products[product]: score for product, score in zip(products, scores, strict=True)}


NOBODY = Scores(Matrix(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0), ()))


@dataclass(frozen=True)
class Book:
    """What decisions go by, the same for many of them: rules, offers, prices and scores.

    `channel_price` and `campaign_price` are the dual prices of the last plan in fen, moved by the pace of the day.
    """

    policy: Policy
    campaigns: tuple[Campaign, ...]
    channel_price: Mapping[str, float]
    campaign_price: Mapping[str, float]
    scores: Scores = NOBODY
    by_product: Mapping[str, Sequence[tuple[Campaign, Offer]]] = field(init=False)
    classes: Mapping[str, int] = field(init=False)
    quotas: dict[tuple[str, str, date, int], tuple[str, ...]] = field(default_factory=dict)
    """The names of what a contact draws on, by channel, campaign, day and hour, as they were needed."""

    def __post_init__(self) -> None:
        by_product: dict[str, list[tuple[Campaign, Offer]]] = {}
        for campaign in self.campaigns:
            for offer in campaign.offers:
                by_product.setdefault(offer.product_id, []).append((campaign, offer))
        object.__setattr__(self, "by_product", by_product)
        object.__setattr__(self, "classes", exclusion_classes(self.campaigns))

    def bids(self, customer_key: int, places: Sequence[Place], on: date, *, no_profile: bool) -> list[Bid]:
        """All bids above 0 for these places, the highest first: acceptance × worth − cost − the prices."""
        known = self.scores.means if no_profile or not customer_key else self.scores.of(customer_key)
        limits = {place: self.policy.limit(place.channel) for place in places}
        found = []
        for product_id, score in known.items():
            for campaign, offer in self.by_product.get(product_id, ()):
                if not campaign.bids_on(on):
                    continue
                for place, limit in limits.items():
                    if limit is None or place.channel not in offer.channels:
                        continue
                    worth = min(score * limit.lift_bps / 10_000, 1.0) * offer.worth_fen - limit.cost_fen
                    price = self.channel_price.get(place.channel, 0.0) + self.campaign_price.get(campaign.name, 0.0)
                    if worth > price:
                        found.append(Bid(campaign, offer, place, worth - price))
        found.sort(key=lambda bid: (-bid.fen, bid.offer.offer_id, bid.place.slot_id, bid.place.channel))
        return found


def chosen(
    book: Book,
    bids: Sequence[Bid],
    places: Sequence[Place],
    customer: Asked,
    on: date,
    hour: int,
    take: Callable[[Bid], bool],
) -> list[Choice]:
    """The choice for each place, in their order: the highest bids first, as long as the rules allow one more contact.

    No offer, and no two that exclude each other, are given twice. `take` uses up a quota, or says that there is none.
    """
    won: dict[Place, Bid] = {}
    reasons: dict[Place, str] = {}
    taken: set[int] = set()
    for bid in bids:
        if bid.place in won or book.classes[bid.offer.offer_id] in taken:
            continue
        wish = Wish(bid.place.channel, bid.offer.product_id, bid.offer.exclusive_group)
        reason = book.policy.refusal(customer, wish, on, hour)
        if not reason and not take(bid):
            reason = QUOTA
        if reason:
            reasons.setdefault(bid.place, reason)
            continue
        won[bid.place] = bid
        taken.add(book.classes[bid.offer.offer_id])
        touch = Touch(on, 1, wish.channel, wish.purpose, wish.product_id, wish.exclusive_group)
        customer = customer.after(touch)
    return [Choice(place, won.get(place), "" if place in won else reasons.get(place, NOTHING)) for place in places]
