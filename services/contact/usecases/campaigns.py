"""Campaigns from draft to lesson: written, approved by another, tried, rolled out through the gate, stopped, closed."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.contact.domain.campaign import (
    ACTIVATE,
    APPROVE,
    CLOSE,
    PILOT,
    ROLL_OUT,
    Campaign,
    Lesson,
    Moved,
    drafted,
    examined,
    moved,
)
from services.contact.domain.campaign_type import TYPES, CampaignType
from services.contact.domain.experiment import Rate
from services.contact.domain.outcome import Effect, effect
from services.contact.domain.pilot import Finding, Pilot, Ratio, SampleSize, findings, sample_size
from services.contact.refusals import campaign_invalid, campaign_not_found, pilot_blocks, pilot_invalid
from services.contact.store import Store
from services.contact.usecases.reach import Check
from services.kit import idempotency, operations, outbox
from services.kit.clock import Clock
from services.kit.db import Database, Read, Write
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids

CREATE = "create"
_MOST_ROUNDS = 1_000


@dataclass(frozen=True)
class Change:
    """A verb with what goes with it; `override` passes the pilot's gate, `lesson` closes."""

    verb: str
    etag: str = ""
    note: str = ""
    override: str = ""
    lesson: Lesson | None = None


@dataclass(frozen=True)
class Learned:
    """A closed campaign's lesson with its figures at the close."""

    campaign_id: str
    name: str
    type: str
    audience: str
    product_ids: tuple[str, ...]
    channels: tuple[str, ...]
    lesson: Lesson
    effect: Effect
    close_time: datetime


@dataclass(frozen=True)
class Round:
    """One campaign of a chain of rounds, and what it showed."""

    campaign: Campaign
    finding: Finding


class Campaigns:
    """The life of campaigns."""

    def __init__(self, db: Database, store: Store, clock: Clock, ids: Ids, wrong: Check | None = None) -> None:
        self._db = db
        self._store = store
        self._clock = clock
        self._ids = ids
        self._wrong = wrong

    async def create(self, key: RequestKey, campaign: Campaign) -> Campaign:
        """Write a draft. Raises campaign_invalid, also when the name is taken, pilot_invalid, campaign_not_found."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await self._as_answered(tx, earlier)
            await self._store.campaigns.lock_name(tx, campaign.name)
            taken = await self._store.campaigns.id_of(tx, campaign.name)
            if taken is not None:
                raise campaign_invalid("name", f"is taken by campaign {taken}")
            if campaign.previous_campaign_id:
                await self._get(tx, campaign.previous_campaign_id)
            campaign = dataclasses.replace(campaign, author=key.caller)
            draft = drafted(campaign, self._ids(), self._clock())
            await self._store.campaigns.add(tx, draft)
            await self._keep(tx, draft, Change(CREATE), key.caller, None)
            await idempotency.answer(tx, key, _answer(draft))
            await tx.commit()
        return draft

    async def move(self, key: RequestKey, campaign_id: str, change: Change) -> Campaign:
        """Move a campaign by a verb.

        Raises campaign_not_found, campaign_changed, campaign_state, campaign_invalid, not_four_eyes, pilot_blocks.
        """
        if change.verb == APPROVE:
            await self._examine_audience(campaign_id)
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await self._as_answered(tx, earlier)
            before = await self._store.campaigns.for_update(tx, campaign_id)
            if before is None:
                raise campaign_not_found(campaign_id)
            after = moved(before, change.verb, change.etag)
            examined(before, change.verb, key.caller, change.lesson)
            finding = await self._gate(tx, before, change)
            await self._store.campaigns.move(tx, after)
            await self._keep(tx, after, change, key.caller, finding)
            if change.verb == CLOSE and change.lesson is not None:
                await self._learn(tx, after, change.lesson)
            fact = {"campaign_id": campaign_id, "state": after.state, "verb": change.verb}
            await outbox.put(tx, "campaign.moved", campaign_id, fact)
            await operations.record(tx, key.action, campaign_id, verb=change.verb, state=after.state)
            await idempotency.answer(tx, key, _answer(after))
            await tx.commit()
        return after

    async def _examine_audience(self, campaign_id: str) -> None:
        """Refuse an audience that portrait does not understand; what a campaign is for never changes."""
        async with self._db.read() as read:
            campaign = await self._get(read, campaign_id)
        wrong = await self._wrong(campaign.audience) if self._wrong and campaign.audience else ""
        if wrong:
            raise campaign_invalid("brief.audience", f"is not understood by portrait: {wrong}")

    async def activate(self, key: RequestKey, campaign_id: str, etag: str) -> Campaign:
        """Let a draft without a brief bid. Raises as move()."""
        return await self.move(key, campaign_id, Change(ACTIVATE, etag))

    async def close(self, key: RequestKey, campaign_id: str, etag: str) -> Campaign:
        """Stop the bids of a campaign without a brief. Raises as move()."""
        return await self.move(key, campaign_id, Change(CLOSE, etag))

    async def campaign(self, campaign_id: str) -> tuple[Campaign, list[Moved]]:
        """One campaign with its history. Raises campaign_not_found."""
        async with self._db.read() as read:
            campaign = await self._get(read, campaign_id)
            return campaign, await self._store.campaigns.moves(read, campaign_id)

    async def campaigns(
        self, name: str, finding_id: str, after: tuple[datetime, str] | None, size: int
    ) -> list[Campaign]:
        """Campaigns, the latest first, those after (create_time, campaign_id); of one name and finding, "" for all."""
        async with self._db.read() as read:
            return await self._store.campaigns.page(read, name, finding_id, after, size)

    def types(self, after: str, size: int) -> list[CampaignType]:
        """The catalogue, those after the type `after`."""
        names = list(TYPES)
        start = names.index(after) + 1 if after in TYPES else 0
        return [TYPES[name] for name in names[start : start + size]]

    async def knowledge(
        self, query: str, product_id: str, channel: str, after: tuple[datetime, str] | None, size: int
    ) -> list[Learned]:
        """What was learned, the latest first, of entries that hold all words of the query."""
        async with self._db.read() as read:
            found = await self._store.knowledge.page(
                read, words=query.split(), product_id=product_id, channel=channel, after=after, size=size
            )
        return [_learned(campaign_id, close_time, entry) for campaign_id, close_time, entry in found]

    async def guests(self, event_tag: str, after: int, size: int) -> list[Mapping[str, Any]]:
        """Who took part in past campaigns of an event tag, the keenest first."""
        async with self._db.read() as read:
            return await self._store.pilots.guests(read, event_tag, after, size)

    def sample_size(self, base: float, expected: float, alpha: float, power: float, control_share: float) -> SampleSize:
        """Customers that a pilot needs; 0 takes the usual. Raises pilot_invalid."""
        return sample_size(base, expected, alpha=alpha or 0.05, power=power or 0.8, control_share=control_share or 0.5)

    async def finding(self, campaign_id: str) -> Finding:
        """What a pilot shows; after the roll-out, what it showed then. Raises campaign_not_found, pilot_invalid."""
        async with self._db.read() as read:
            campaign = await self._get(read, campaign_id)
            if campaign.pilot is None:
                raise pilot_invalid("campaign_id", "names a campaign without a pilot")
            return await self._finding(read, campaign)

    async def rounds(self, campaign_id: str) -> list[Round]:
        """The rounds that led to a campaign, the first one first. Raises campaign_not_found."""
        found: list[Round] = []
        async with self._db.read() as read:
            while campaign_id and len(found) < _MOST_ROUNDS:
                campaign = await self._get(read, campaign_id)
                found.append(Round(campaign, await self._finding(read, campaign)))
                campaign_id = campaign.previous_campaign_id
        return found[::-1]

    async def _finding(self, read: Read, campaign: Campaign) -> Finding:
        moves = await self._store.campaigns.moves(read, campaign.campaign_id)
        until = next((move.time for move in moves if move.verb == ROLL_OUT and move.finding), None)
        cells = await self._store.pilots.cells(read, campaign.campaign_id, until)
        pilot = campaign.pilot or Pilot(share_bps=5_000, tolerance=1.0, least_trials=0)
        return findings(pilot, cells, campaign.control_bps)

    async def _gate(self, read: Read, campaign: Campaign, change: Change) -> Finding | None:
        """What the pilot shows at its end. Raises pilot_blocks unless it agrees, or somebody answers for going on."""
        if change.verb != ROLL_OUT or campaign.state != PILOT:
            return None
        finding = await self._finding(read, campaign)
        if finding.blocks and not change.override.strip():
            raise pilot_blocks(campaign.campaign_id, finding.blocks)
        return finding

    async def _keep(self, tx: Write, campaign: Campaign, change: Change, actor: str, finding: Finding | None) -> None:
        shown = {} if finding is None else _finite(dataclasses.asdict(finding))
        override = change.override if finding is not None and finding.blocks else ""
        move = Moved(change.verb, campaign.state, actor, change.note, override, shown, self._clock())
        await self._store.campaigns.remember(tx, campaign, move)

    async def _learn(self, tx: Write, campaign: Campaign, lesson: Lesson) -> None:
        (tallied,) = await self._store.outcomes.tallies(tx, campaign_id=campaign.campaign_id, size=1)
        achieved = effect(tallied.campaign_id, tallied.name, tallied.tallies, tallied.unmatched)
        products = [offer.product_id for offer in campaign.offers]
        channels = sorted({channel for offer in campaign.offers for channel in offer.channels})
        audience = campaign.brief.audience if campaign.brief else ""
        told = dataclasses.asdict(lesson)
        entry = {"name": campaign.name, "type": campaign.type, "audience": audience, "lesson": told}
        entry |= {"products": products, "channels": channels, "effect": dataclasses.asdict(achieved)}
        contents = [offer.content for offer in campaign.offers]
        words = [campaign.name, campaign.type, audience, *told.values(), *products, *channels, *contents]
        if campaign.brief:
            words += [campaign.brief.goal, campaign.brief.event_tag, campaign.brief.promotion]
        await self._store.knowledge.add(
            tx,
            campaign.campaign_id,
            campaign.org_id,
            product_ids=products,
            channels=channels,
            entry=entry,
            words="\n".join(words),
            now=self._clock(),
        )

    async def _get(self, read: Read, campaign_id: str) -> Campaign:
        campaign = await self._store.campaigns.get(read, campaign_id)
        if campaign is None:
            raise campaign_not_found(campaign_id)
        return campaign

    async def _as_answered(self, read: Read, earlier: Mapping[str, Any]) -> Campaign:
        """The campaign as it stood when the request was first answered: only state and revision ever change."""
        campaign = await self._get(read, earlier["campaign_id"])
        return dataclasses.replace(campaign, state=earlier["state"], revision=earlier["revision"])


def _answer(campaign: Campaign) -> Mapping[str, Any]:
    return {"campaign_id": campaign.campaign_id, "state": campaign.state, "revision": campaign.revision}


def _finite(told: Any) -> Any:
    """JSON knows no infinity: an open end of an interval is kept as null."""
    if isinstance(told, Mapping):
        return {name: _finite(value) for name, value in told.items()}
    if isinstance(told, Sequence) and not isinstance(told, str):
        return [_finite(value) for value in told]
    return None if told == float("inf") else told


def kept_finding(told: Mapping[str, Any]) -> Finding | None:
    """The finding that a history holds; None when it holds none."""
    if not told:
        return None
    rates = {name: Rate(**told[name]) for name in ("treated", "control", "earlier")}
    ratios = {name: _ratio(told[name]) for name in ("to_control", "to_earlier")}
    return Finding(**{**told, **rates, **ratios, "blocks": tuple(told["blocks"])})


def _ratio(told: Mapping[str, Any]) -> Ratio:
    return Ratio(**{name: float("inf") if value is None else value for name, value in told.items()})


def _learned(campaign_id: str, close_time: datetime, entry: Mapping[str, Any]) -> Learned:
    told = dict(entry["effect"])
    told |= {name: Rate(**told[name]) for name in ("response", "opening", "control_opening")}
    return Learned(
        campaign_id=campaign_id,
        name=entry["name"],
        type=entry["type"],
        audience=entry["audience"],
        product_ids=tuple(entry["products"]),
        channels=tuple(entry["channels"]),
        lesson=Lesson(**entry["lesson"]),
        effect=Effect(**told),
        close_time=close_time,
    )
