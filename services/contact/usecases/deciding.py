"""What a batch of requests comes to, before it is kept: rules, bids and quotas, without a look at the database."""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np

from services.contact.domain import decision
from services.contact.domain.auction import LEFT
from services.contact.domain.decision import Bid, Book, Choice, Place
from services.contact.domain.experiment import held_out
from services.contact.domain.policy import MARKETING, Asked
from services.contact.domain.reservation import LIFE, RESERVED, SHOWN, Blocks, Decided, grant_id, quotas
from services.contact.store.decisions import Known


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: who asks, for which customer (0: nobody known), which places, in which moment."""

    caller: str
    request_id: str
    customer_key: int
    places: tuple[tuple[str, str], ...]
    """(slot id or "", channel or "")."""
    moment: str = ""
    no_profile: bool = False

    @property
    def fingerprint(self) -> str:
        """What makes it the same request."""
        told = f"{self.customer_key}|{self.places}|{self.moment}|{self.no_profile}"
        return hashlib.sha256(told.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one place shows or sends; without an offer its default."""

    decided: Decided
    attribution_token: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request with its places, what each shows by default, and who waits for it."""

    ask: Ask
    places: tuple[Place, ...]
    defaults: tuple[str, ...]
    answer: "asyncio.Future[list[Answer]]"


@dataclass(frozen=True)
class Batch:
    """Requests that are decided together, each of another customer, and by what."""

    book: Book
    waiting: Sequence[Waiting]
    known: Mapping[int, Known]
    blocks: Blocks
    shard: int
    on: date
    hour: int
    now: datetime

    def made(self) -> list[list[Decided]]:
        """What is decided for each request, place by place; quotas are taken from the blocks."""
        keys = np.array([one.ask.customer_key for one in self.waiting], np.int64)
        apart = (keys != 0) & ~np.array([one.ask.no_profile for one in self.waiting], np.bool_)
        channels = {place.channel for one in self.waiting for place in one.places}
        rankings = self.book.rankings(keys, apart, channels, self.on)
        bps = self.book.policy.holdout_bps
        out = held_out("holdout", keys, bps).tolist() if bps else [False] * len(keys)
        made = []
        for at, waiting in enumerate(self.waiting):
            one = self.known.get(waiting.ask.customer_key)
            drawn: dict[int, tuple[str, ...]] = {}
            if one is None or one.status == LEFT:
                reason = "nobody known" if not waiting.ask.customer_key else "not a customer"
                choices = [Choice(place, None, reason) for place in waiting.places]
            else:
                customer = Asked(one.level, one.touches, one.consents, one.refusals, one.unwanted, out[at])
                bids = decision.merged(rankings, at, waiting.places)
                choices = self._chosen(bids, waiting.places, customer, drawn)
            made.append(self._kept(waiting, one.org_id if one else "", choices, drawn))
        return made

    def _chosen(
        self, bids: Iterable[Bid], places: Sequence[Place], customer: Asked, drawn: dict[int, tuple[str, ...]]
    ) -> list[Choice]:
        book = self.book

        def take(bid: Bid) -> bool:
            drawing = bid.place.channel, bid.campaign.campaign_id, self.on, self.hour
            names = book.quotas.get(drawing)
            if names is None:
                channel, campaign_id, on, hour = drawing
                told = quotas(book.policy, channel, on, hour, campaign_id, bid.campaign.contacts_max)
                names = book.quotas[drawing] = tuple(one.name for one in told)
            if not self.blocks.take(names):
                return False
            drawn[bid.at] = names
            return True

        return decision.chosen(book, bids, places, customer, self.on, self.hour, take)

    def _kept(
        self, waiting: Waiting, org_id: str, choices: Sequence[Choice], drawn: Mapping[int, tuple[str, ...]]
    ) -> list[Decided]:
        ask, expire = waiting.ask, self.now + LIFE
        fingerprint = ask.fingerprint
        kept = []
        for number, (choice, default) in enumerate(zip(choices, waiting.defaults, strict=True)):
            bid = choice.bid
            offer = bid.offer if bid else None
            kept.append(
                Decided(
                    grant_id(ask.caller, ask.request_id, number),
                    fingerprint,
                    ask.customer_key,
                    org_id,
                    RESERVED if bid else SHOWN,
                    self.on,
                    choice.place.slot_id,
                    choice.place.channel,
                    MARKETING,
                    bid.campaign.campaign_id if bid else "",
                    offer.offer_id if offer else "",
                    offer.product_id if offer else "",
                    offer.exclusive_group if offer else "",
                    offer.content if offer else default,
                    choice.reason,
                    bid.fen if bid else 0.0,
                    self.now,
                    expire,
                    self.shard,
                    drawn.get(number, ()),
                )
            )
        return kept
