"""What a batch of requests comes to, before it is kept: rules, bids and quotas, without a look at the database."""

import asyncio
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import numpy as np

from services.contact.domain import decision
from services.contact.domain.campaign import Campaign
from services.contact.domain.decision import NOTHING, QUOTA, Bid, Book, Choice, Place, Ranking
from services.contact.domain.experiment import held_out
from services.contact.domain.plan import attribution_token
from services.contact.domain.policy import MARKETING
from services.contact.domain.reservation import LIFE, RESERVED, SHOWN, Blocks, Decided, Kind, grant_id, quotas
from services.contact.domain.standing import Era, Standing

LATE = "late"
"""The reason of a default that is shown since the decision was not there in time."""
_NEVER = datetime.min.replace(tzinfo=UTC)


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
    domain: frozenset[str] | None = None
    """The organisations whose customers the caller may see; None for all. Others are no customers to him."""

    def sees(self, org_id: str) -> bool:
        """Whether customers of the organisation are there for the caller."""
        return self.domain is None or org_id in self.domain

    @property
    def fingerprint(self) -> str:
        """What makes it the same request."""
        told = f"{self.customer_key}|{self.places}|{self.moment}|{self.no_profile}"
        return hashlib.sha256(told.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one place shows or sends; without an offer its default."""

    decided: Decided

    @property
    def attribution_token(self) -> str:
        """What outcomes carry back; "" for a default."""
        return attribution_token(self.decided.grant_id) if self.decided.offer_id else ""


def late(ask: Ask, at: int, channel: str, default: str) -> Decided:
    """What the place number `at` of a request shows when the decision takes too long; nothing of it is kept."""
    kind = Kind("", SHOWN, ask.places[at][0], channel, MARKETING, "", "", "", "", default, LATE, ())
    return Decided("", ask.fingerprint, ask.customer_key, 0.0, kind, date.min, _NEVER, _NEVER, 0)


@dataclass(slots=True, eq=False)
class Waiting:
    """A request with its places, what each shows by default, and who waits for it; `key` is who the person is now."""

    ask: Ask
    key: int
    places: tuple[Place, ...]
    defaults: tuple[str, ...]
    answer: "asyncio.Future[list[Answer]]"


@dataclass(frozen=True)
class Batch:
    """Requests that are decided together, each of another customer, and by what."""

    book: Book
    waiting: Sequence[Waiting]
    known: Mapping[int, Standing]
    happening: Mapping[int, Collection[str]]
    blocks: Blocks
    shard: int
    on: date
    hour: int
    now: datetime
    _expire: datetime = field(init=False)
    _era: Era = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_expire", self.now + LIFE)
        object.__setattr__(self, "_era", Era(self.book.policy, self.on, self.hour))

    def made(self) -> list[list[Decided]]:
        """What is decided for each request, place by place; quotas are taken from the blocks."""
        keys = np.array([one.key for one in self.waiting], np.int64)
        apart = (keys != 0) & ~np.array([one.ask.no_profile for one in self.waiting], np.bool_)
        channels = {place.channel for one in self.waiting for place in one.places}
        rankings = self.book.rankings(keys, apart, channels, self.on, self._happening())
        bps = self.book.policy.holdout_bps
        out = held_out("holdout", keys, bps).tolist() if bps else [False] * len(keys)
        made = []
        for at, waiting in enumerate(self.waiting):
            one = self.known.get(waiting.key)
            if one is None or one.left or not waiting.ask.sees(one.org_id):
                reason = "not a customer" if waiting.key else "nobody known"
                org_id = one.org_id if one else ""
                kinds = [
                    self._default(org_id, place, default, reason)
                    for place, default in zip(waiting.places, waiting.defaults, strict=True)
                ]
                made.append(self._kept(waiting, kinds, [0.0] * len(kinds)))
            elif len(waiting.places) == 1:
                kind, fen = self._single(rankings.get(waiting.places[0].channel), at, waiting, one, out[at])
                made.append(self._kept(waiting, (kind,), (fen,)))
            else:
                made.append(self._several(rankings, at, waiting, one, out[at]))
        return made

    def _happening(self) -> list[Collection[str]]:
        """What happens to each customer, as he is asked about or as portrait told; for nobody when none waits."""
        if not self.book.moments:
            return []
        return [{*self.happening.get(one.key, ()), one.ask.moment} - {""} for one in self.waiting]

    def _single(
        self, ranking: Ranking | None, at: int, waiting: Waiting, one: Standing, out: bool
    ) -> tuple[Kind, float]:
        """What one place gets, and its bid: what `decision.chosen` says of several, with what a standing remembers."""
        [place], [default] = waiting.places, waiting.defaults
        why = NOTHING
        if ranking is not None:
            offers = ranking.wares.offers
            for index in range(ranking.starts[at], ranking.starts[at + 1]):
                campaign, offer = offers[ranking.entries[index]]
                reason = one.refusal(self._era, out, place.channel, campaign.purpose, offer)
                if not reason:
                    names = self._quotas(place.channel, campaign)
                    if not names or self.blocks.take(names):
                        return self._won(one.org_id, place, campaign, ranking.entries[index], names, ranking), (
                            ranking.fens[index]
                        )
                if why is NOTHING:
                    why = reason or QUOTA
                if decision.lasting(reason, campaign.purpose):
                    break
        return self._default(one.org_id, place, default, why), 0.0

    def _several(
        self, rankings: Mapping[str, Ranking], at: int, waiting: Waiting, one: Standing, out: bool
    ) -> list[Decided]:
        """What several places get."""
        drawn: dict[int, tuple[str, ...]] = {}

        def take(bid: Bid) -> bool:
            names = self._quotas(bid.place.channel, bid.campaign)
            if not self.blocks.take(names):
                return False
            drawn[bid.at] = names
            return True

        bids = decision.merged(rankings, at, waiting.places)
        customer = one.as_asked(out)
        choices = decision.chosen(self.book, bids, waiting.places, customer, self.on, self.hour, take)
        kinds = [
            self._kind(one.org_id, choice, default, drawn.get(number, ()))
            for number, (choice, default) in enumerate(zip(choices, waiting.defaults, strict=True))
        ]
        return self._kept(waiting, kinds, [choice.bid.fen if choice.bid else 0.0 for choice in choices])

    def _quotas(self, channel: str, campaign: Campaign) -> tuple[str, ...]:
        drawing = channel, campaign.campaign_id, self.on, self.hour
        names = self.book.quotas.get(drawing)
        if names is None:
            told = quotas(self.book.policy, channel, self.on, self.hour, campaign)
            names = self.book.quotas[drawing] = tuple(one.name for one in told)
        return names

    def _won(
        self, org_id: str, place: Place, campaign: Campaign, entry: int, names: tuple[str, ...], ranking: Ranking
    ) -> Kind:
        told = org_id, place, entry, names
        kind = self.book.kinds.get(told)
        if kind is None:
            offer = ranking.wares.offers[entry][1]
            kind = self._kind(org_id, Choice(place, Bid(campaign, offer, 0, place, 0.0)), "", names)
            self.book.kinds[told] = kind
        return kind

    def _default(self, org_id: str, place: Place, default: str, reason: str) -> Kind:
        told = org_id, place, default, reason
        kind = self.book.kinds.get(told)
        if kind is None:
            kind = self.book.kinds[told] = self._kind(org_id, Choice(place, None, reason), default, ())
        return kind

    def _kind(self, org_id: str, choice: Choice, default: str, names: tuple[str, ...]) -> Kind:
        bid, place = choice.bid, choice.place
        offer = bid.offer if bid else None
        return Kind(
            org_id,
            RESERVED if bid else SHOWN,
            place.slot_id,
            place.channel,
            bid.campaign.purpose if bid else MARKETING,
            bid.campaign.campaign_id if bid else "",
            offer.offer_id if offer else "",
            offer.product_id if offer else "",
            offer.exclusive_group if offer else "",
            offer.content if offer else default,
            choice.reason,
            names,
        )

    def _kept(self, waiting: Waiting, kinds: Sequence[Kind], fens: Sequence[float]) -> list[Decided]:
        ask, fingerprint = waiting.ask, waiting.ask.fingerprint
        return [
            Decided(
                grant_id(ask.caller, ask.request_id, number),
                fingerprint,
                waiting.key,
                fen,
                kind,
                self.on,
                self.now,
                self._expire,
                self.shard,
            )
            for number, (kind, fen) in enumerate(zip(kinds, fens, strict=True))
        ]
