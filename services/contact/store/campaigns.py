"""Policies and campaigns."""

import dataclasses
from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import Any

from sqlalchemy import Row, insert, select, text, tuple_, update

from services.contact import tables
from services.contact.domain.campaign import ACTIVE, PILOT, STOPPED, Brief, Campaign, Moved, Offer
from services.contact.domain.pilot import Pilot
from services.contact.domain.policy import Blackout, ChannelLimit, CustomerCap, Fatigue, Policy
from services.kit.db import Read, Write

_policy, _campaign, _offer, _move = tables.policy, tables.campaign, tables.offer, tables.campaign_move


class Policies:
    """The table `policy`."""

    async def latest(self, read: Read) -> Policy | None:
        """The policy in force."""
        row = await read.row(select(_policy).order_by(_policy.c.version.desc()).limit(1))
        return None if row is None else _to_policy(row)

    async def version(self, read: Read, version: int) -> Policy:
        """One version, which is there."""
        row = await read.row(select(_policy).where(_policy.c.version == version))
        assert row is not None, f"policy version {version}"
        return _to_policy(row)

    async def add(self, tx: Write, policy: Policy, now: datetime) -> Policy:
        """Keep the next version; whoever does the same at once waits."""
        await tx.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('contact.policy', 0))"))
        latest = await self.latest(tx)
        version = latest.version + 1 if latest else 1
        definition = {
            "customer_caps": [dataclasses.asdict(cap) for cap in policy.customer_caps],
            "channel_limits": [dataclasses.asdict(limit) for limit in policy.channel_limits],
            "holdout_bps": policy.holdout_bps,
            "cooldown_days": policy.cooldown_days,
            "fatigue": dataclasses.asdict(policy.fatigue) if policy.fatigue else None,
            "blackouts": [
                {**dataclasses.asdict(one), "from_date": str(one.from_date), "to_date": str(one.to_date)}
                for one in policy.blackouts
            ],
        }
        await tx.execute(insert(_policy).values(version=version, definition=definition, update_time=now))
        return dataclasses.replace(policy, version=version, update_time=now)


class Campaigns:
    """The tables `campaign` and `offer`."""

    async def id_of(self, read: Read, name: str) -> str | None:
        """The id of the campaign of this name."""
        found: str | None = await read.value(select(_campaign.c.campaign_id).where(_campaign.c.name == name))
        return found

    async def lock_name(self, tx: Write, name: str) -> None:
        """Until the transaction ends, nobody else makes a campaign of this name."""
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended('contact.campaign.' || :name, 0))")
        await tx.execute(lock, {"name": name})

    async def add(self, tx: Write, campaign: Campaign) -> None:
        """Keep a draft."""
        row = dataclasses.asdict(campaign)
        offers = row.pop("offers")
        await tx.execute(insert(_campaign).values(row))
        of = {"campaign_id": campaign.campaign_id, "org_id": campaign.org_id}
        rows = [
            {**offer, "channels": list(offer["channels"]), **of, "number": number}
            for number, offer in enumerate(offers, start=1)
        ]
        await tx.execute(insert(_offer), rows)

    async def get(self, read: Read, campaign_id: str) -> Campaign | None:
        """One campaign."""
        row = await read.row(select(_campaign).where(_campaign.c.campaign_id == campaign_id))
        return None if row is None else (await self._with_offers(read, [row]))[0]

    async def for_update(self, tx: Write, campaign_id: str) -> Campaign | None:
        """One campaign, held until the transaction ends."""
        row = await tx.row(select(_campaign).where(_campaign.c.campaign_id == campaign_id).with_for_update())
        return None if row is None else (await self._with_offers(tx, [row]))[0]

    async def move(self, tx: Write, campaign: Campaign) -> None:
        """Keep a campaign's new state and revision."""
        stmt = update(_campaign).where(_campaign.c.campaign_id == campaign.campaign_id)
        values = {"state": campaign.state, "revision": campaign.revision, "paused_from": campaign.paused_from}
        await tx.execute(stmt.values(values))

    async def remember(self, tx: Write, campaign: Campaign, move: Moved) -> None:
        """Keep the step that made the campaign what it is."""
        of = {"campaign_id": campaign.campaign_id, "number": campaign.revision, "org_id": campaign.org_id}
        await tx.execute(insert(_move).values(**of, **dataclasses.asdict(move)))

    async def moves(self, read: Read, campaign_id: str) -> list[Moved]:
        """The history of a campaign from the first step."""
        columns = [_move.c[field.name] for field in dataclasses.fields(Moved)]
        rows = await read.rows(select(*columns).where(_move.c.campaign_id == campaign_id).order_by(_move.c.number))
        return [Moved(**row._asdict()) for row in rows]

    async def stopped(self, read: Read, plan_id: str) -> set[str]:
        """The campaigns of a plan that were paused or killed since."""
        bidding = select(tables.contact.c.campaign_id).where(tables.contact.c.plan_id == plan_id)
        stmt = select(_campaign.c.campaign_id).where(
            _campaign.c.state.in_(STOPPED), _campaign.c.campaign_id.in_(bidding)
        )
        return {row.campaign_id for row in await read.rows(stmt)}

    async def active(self, read: Read) -> list[Campaign]:
        """The campaigns that bid, by name."""
        return await self.in_states(read, (PILOT, ACTIVE))

    async def in_states(self, read: Read, states: Collection[str]) -> list[Campaign]:
        """The campaigns in these states, by name."""
        stmt = select(_campaign).where(_campaign.c.state.in_(states)).order_by(_campaign.c.name)
        return await self._with_offers(read, await read.rows(stmt))

    async def of_ids(self, read: Read, campaign_ids: Collection[str]) -> list[Campaign]:
        """The campaigns with these ids, by name."""
        stmt = select(_campaign).where(_campaign.c.campaign_id.in_(campaign_ids)).order_by(_campaign.c.name)
        return await self._with_offers(read, await read.rows(stmt))

    async def page(
        self, read: Read, name: str, finding_id: str, after: tuple[datetime, str] | None, size: int
    ) -> list[Campaign]:
        """Campaigns, the latest first, those after (create_time, campaign_id); of one name and finding, "" for all."""
        stmt = select(_campaign).order_by(_campaign.c.create_time.desc(), _campaign.c.campaign_id.desc()).limit(size)
        if name:
            stmt = stmt.where(_campaign.c.name == name)
        if finding_id:
            stmt = stmt.where(_campaign.c.brief["findings"].contains([finding_id]))
        if after is not None:
            stmt = stmt.where(tuple_(_campaign.c.create_time, _campaign.c.campaign_id) < tuple_(*after))
        return await self._with_offers(read, await read.rows(stmt))

    async def contents(self, read: Read, plan_id: str) -> Mapping[str, str]:
        """Offer → its content, for the offers of a plan's contacts."""
        won = select(tables.contact.c.offer_id).where(tables.contact.c.plan_id == plan_id)
        rows = await read.rows(select(_offer.c.offer_id, _offer.c.content).where(_offer.c.offer_id.in_(won)))
        return {row.offer_id: row.content for row in rows}

    async def _with_offers(self, read: Read, rows: list[Row[Any]]) -> list[Campaign]:
        wanted = [row.campaign_id for row in rows]
        stmt = select(_offer).where(_offer.c.campaign_id.in_(wanted)).order_by(_offer.c.campaign_id, _offer.c.number)
        offers: dict[str, list[Offer]] = {campaign_id: [] for campaign_id in wanted}
        for row in await read.rows(stmt) if wanted else []:
            offers[row.campaign_id].append(
                Offer(
                    offer_id=row.offer_id,
                    product_id=row.product_id,
                    content=row.content,
                    channels=tuple(row.channels),
                    worth_fen=row.worth_fen,
                    exclusive_group=row.exclusive_group,
                )
            )
        return [_to_campaign(row, offers[row.campaign_id]) for row in rows]


def _to_campaign(row: Row[Any], offers: list[Offer]) -> Campaign:
    values = row._asdict()
    brief, pilot = values.pop("brief"), values.pop("pilot")
    if brief is not None:
        brief = Brief(**{**brief, **{name: tuple(brief[name]) for name in ("places", "moments", "findings")}})
    return Campaign(**values, brief=brief, pilot=None if pilot is None else Pilot(**pilot), offers=tuple(offers))


def _to_policy(row: Row[Any]) -> Policy:
    return Policy(
        customer_caps=tuple(CustomerCap(**cap) for cap in row.definition["customer_caps"]),
        channel_limits=tuple(ChannelLimit(**limit) for limit in row.definition["channel_limits"]),
        holdout_bps=row.definition["holdout_bps"],
        # Versions from before these rules do not hold them.
        cooldown_days=row.definition.get("cooldown_days", 0),
        fatigue=Fatigue(**row.definition["fatigue"]) if row.definition.get("fatigue") else None,
        blackouts=tuple(_blackout(one) for one in row.definition.get("blackouts", ())),
        version=row.version,
        update_time=row.update_time,
    )


def _blackout(told: Mapping[str, Any]) -> Blackout:
    return Blackout(
        name=told["name"],
        from_date=date.fromisoformat(told["from_date"]),
        to_date=date.fromisoformat(told["to_date"]),
        channels=tuple(told["channels"]),
    )
