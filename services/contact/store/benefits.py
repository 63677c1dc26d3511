"""Pools and benefits, subscriptions, messages, referrals."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text

from services.contact.domain.benefit import RETRY, Benefit, Message, Pool, Referrals, Subscription
from services.contact.domain.outcome import ATTRIBUTION
from services.kit.db import Read, Write

_BENEFIT = "benefit_id, campaign_id, kind, customer_key, product_id, value_fen, issue_time, expire_time, redeem_time"
_SUBSCRIPTION = "subscription_id, campaign_id, customer_key, channel, hour, weekdays, next_time"
_MESSAGE = (
    "message_id, campaign_id, customer_key, channel, content, due_time, state, attempts, receipt, grant_id, end_time"
)

_POOLS = text(
    """
    SELECT pool.campaign_id, pool.kind, pool.product_id, pool.cap, pool.value_fen, pool.valid_days, pool.issued,
        count(benefit.redeem_time) AS redeemed,
        count(benefit.redeem_time) FILTER (WHERE EXISTS (
            SELECT FROM opening WHERE opening.customer_key = benefit.customer_key
                AND opening.product_id = benefit.product_id AND opening.open_time >= benefit.redeem_time
                AND opening.open_time < benefit.redeem_time + CAST(:attribution AS interval))) AS converted,
        coalesce(sum(benefit.value_fen) FILTER (WHERE benefit.redeem_time IS NOT NULL), 0)::bigint AS redeemed_fen
    FROM benefit_pool AS pool LEFT JOIN benefit USING (campaign_id, kind)
    WHERE pool.campaign_id = :campaign_id
    GROUP BY pool.campaign_id, pool.kind ORDER BY pool.kind
    """
)


class Benefits:
    """The tables `benefit_pool` and `benefit`."""

    async def add_pool(self, tx: Write, pool: Pool, org_id: str) -> bool:
        """Set a pool; false when the campaign has one of the kind."""
        stmt = text(
            "INSERT INTO benefit_pool (campaign_id, kind, org_id, product_id, cap, issued, value_fen, valid_days) "
            "VALUES (:campaign_id, :kind, :org_id, :product_id, :cap, 0, :value_fen, :valid_days) "
            "ON CONFLICT DO NOTHING"
        )
        names = ("campaign_id", "kind", "product_id", "cap", "value_fen", "valid_days")
        return bool(await tx.execute(stmt, {**{one: getattr(pool, one) for one in names}, "org_id": org_id}))

    async def pools(self, read: Read, campaign_id: str) -> list[Pool]:
        """The pools of a campaign with what came of them."""
        rows = await read.rows(_POOLS, {"campaign_id": campaign_id, "attribution": ATTRIBUTION})
        return [Pool(**row._asdict()) for row in rows]

    async def of_customer(self, read: Read, campaign_id: str, kind: str, customer_key: int) -> Benefit | None:
        """The benefit of a kind that a customer has of a campaign."""
        stmt = text(
            f"SELECT {_BENEFIT} FROM benefit "  # the columns are ours
            "WHERE campaign_id = :campaign_id AND kind = :kind AND customer_key = :key"
        )
        row = await read.row(stmt, {"campaign_id": campaign_id, "kind": kind, "key": customer_key})
        return None if row is None else Benefit(**row._asdict())

    async def take(self, tx: Write, campaign_id: str, kind: str) -> Mapping[str, Any] | None:
        """Take one of the pool while the cap allows, and hold the pool; None when nothing is left or it is unknown."""
        stmt = text(
            "UPDATE benefit_pool SET issued = issued + 1 WHERE campaign_id = :campaign_id AND kind = :kind "
            "AND issued < cap RETURNING product_id, value_fen, valid_days"
        )
        row = await tx.row(stmt, {"campaign_id": campaign_id, "kind": kind})
        return None if row is None else row._asdict()

    async def add(self, tx: Write, benefit: Benefit, org_id: str) -> None:
        """Keep a benefit."""
        stmt = text(
            f"INSERT INTO benefit ({_BENEFIT}, org_id) VALUES (:benefit_id, :campaign_id, :kind, "
            ":customer_key, :product_id, :value_fen, :issue_time, :expire_time, :redeem_time, :org_id)"
        )
        await tx.execute(stmt, {**dataclasses.asdict(benefit), "org_id": org_id})

    async def for_update(self, tx: Write, benefit_id: str) -> Benefit | None:
        """One benefit, held until the transaction ends."""
        stmt = text(f"SELECT {_BENEFIT} FROM benefit WHERE benefit_id = :id FOR UPDATE")
        row = await tx.row(stmt, {"id": benefit_id})
        return None if row is None else Benefit(**row._asdict())

    async def redeem(self, tx: Write, benefit_id: str, now: datetime) -> None:
        """The benefit was redeemed."""
        stmt = text("UPDATE benefit SET redeem_time = :now WHERE benefit_id = :id")
        await tx.execute(stmt, {"id": benefit_id, "now": now})

    async def page(self, read: Read, customer_key: int, after: int, size: int) -> list[Benefit]:
        """The benefits of a customer, the latest first, those after the first `after`."""
        stmt = text(
            f"SELECT {_BENEFIT} FROM benefit WHERE customer_key = :key "
            "ORDER BY issue_time DESC, benefit_id DESC OFFSET :after LIMIT :size"
        )
        rows = await read.rows(stmt, {"key": customer_key, "after": after, "size": size})
        return [Benefit(**row._asdict()) for row in rows]


class Sends:
    """The tables `subscription` and `message`."""

    async def subscribe(self, tx: Write, subscription: Subscription, org_id: str) -> bool:
        """Keep a subscription; false when the customer has one of the campaign."""
        stmt = text(
            f"INSERT INTO subscription ({_SUBSCRIPTION}, org_id) VALUES (:subscription_id, :campaign_id, "
            ":customer_key, :channel, :hour, :weekdays, :next_time, :org_id) ON CONFLICT DO NOTHING"
        )
        row = {**dataclasses.asdict(subscription), "weekdays": list(subscription.weekdays), "org_id": org_id}
        return bool(await tx.execute(stmt, row))

    async def subscription(self, tx: Write, subscription_id: str) -> Subscription | None:
        """One subscription, held until the transaction ends."""
        stmt = text(f"SELECT {_SUBSCRIPTION} FROM subscription WHERE subscription_id = :id FOR UPDATE")
        row = await tx.row(stmt, {"id": subscription_id})
        return None if row is None else Subscription(**{**row._asdict(), "weekdays": tuple(row.weekdays)})

    async def due(self, tx: Write, now: datetime, size: int) -> list[Subscription]:
        """Subscriptions whose time has come, held; those that somebody else holds are left to him."""
        stmt = text(
            f"SELECT {_SUBSCRIPTION} FROM subscription WHERE next_time <= :now "
            "ORDER BY next_time LIMIT :size FOR UPDATE SKIP LOCKED"
        )
        rows = await tx.rows(stmt, {"now": now, "size": size})
        return [Subscription(**{**row._asdict(), "weekdays": tuple(row.weekdays)}) for row in rows]

    async def move(self, tx: Write, subscription_id: str, next_time: datetime | None) -> None:
        """When a subscription is sent next; None ends it."""
        stmt = text("UPDATE subscription SET next_time = :next WHERE subscription_id = :id")
        await tx.execute(stmt, {"id": subscription_id, "next": next_time})

    async def queue(self, tx: Write, messages: Sequence[Message], now: datetime) -> None:
        """Queue messages, each id once."""
        stmt = text(
            "INSERT INTO message (message_id, campaign_id, customer_key, org_id, channel, content, due_time, state, "
            "attempts, receipt, grant_id, end_time, update_time) "
            "SELECT :message_id, :campaign_id, :customer_key, "
            "coalesce((SELECT org_id FROM customer WHERE customer_key = :customer_key), ''), :channel, :content, "
            ":due_time, :state, :attempts, :receipt, :grant_id, CAST(:end_time AS timestamptz), :now "
            "ON CONFLICT DO NOTHING"
        )
        for message in messages:
            await tx.execute(stmt, {**dataclasses.asdict(message), "now": now})

    async def claim(self, tx: Write, channels: Collection[str], now: datetime, size: int) -> list[Message]:
        """Take messages that wait for these channels and count the try; nobody else does before RETRY is over."""
        stmt = text(
            "UPDATE message SET attempts = attempts + 1, update_time = :now WHERE message_id IN ("
            "SELECT message_id FROM message WHERE state = 'QUEUED' AND due_time <= :now "
            "AND channel = ANY(CAST(:channels AS text[])) "
            "AND (attempts = 0 OR update_time <= :before) ORDER BY due_time, message_id LIMIT :size "
            f"FOR UPDATE SKIP LOCKED) RETURNING {_MESSAGE}"
        )
        rows = await tx.rows(stmt, {"now": now, "before": now - RETRY, "size": size, "channels": list(channels)})
        return [Message(**row._asdict()) for row in rows]

    async def settle(self, tx: Write, messages: Sequence[Message], now: datetime) -> None:
        """Keep what became of messages."""
        stmt = text(
            "UPDATE message SET state = :state, receipt = :receipt, due_time = :due_time, grant_id = :grant_id, "
            "update_time = :now WHERE message_id = :message_id AND state = 'QUEUED'"
        )
        for one in messages:
            told = {name: getattr(one, name) for name in ("state", "receipt", "due_time", "grant_id", "message_id")}
            await tx.execute(stmt, {**told, "now": now})

    async def page(self, read: Read, campaign_id: str, after: int, size: int) -> list[Message]:
        """The messages of a campaign by due time, the latest first, those after the first `after`."""
        stmt = text(
            f"SELECT {_MESSAGE} FROM message WHERE campaign_id = :campaign_id "
            "ORDER BY due_time DESC, message_id DESC OFFSET :after LIMIT :size"
        )
        rows = await read.rows(stmt, {"campaign_id": campaign_id, "after": after, "size": size})
        return [Message(**row._asdict()) for row in rows]


class Forwards:
    """The table `referral`."""

    async def depth(self, tx: Write, campaign_id: str, customer_key: int) -> tuple[str, int] | None:
        """(referral, depth) of a customer who has the content."""
        stmt = text("SELECT referral_id, depth FROM referral WHERE campaign_id = :campaign_id AND customer_key = :key")
        row = await tx.row(stmt, {"campaign_id": campaign_id, "key": customer_key})
        return None if row is None else (row.referral_id, row.depth)

    async def add(
        self,
        tx: Write,
        referral_id: str,
        campaign_id: str,
        customer_key: int,
        parent: tuple[str, int] | None,
        now: datetime,
    ) -> int:
        """Keep that a customer got the content from another (None: from the operator); gives the depth."""
        stmt = text(
            "INSERT INTO referral (referral_id, campaign_id, customer_key, org_id, parent_id, depth, create_time) "
            "SELECT :id, :campaign_id, :key, coalesce((SELECT org_id FROM customer WHERE customer_key = :key), ''), "
            ":parent, :depth, :now"
        )
        depth = 0 if parent is None else parent[1] + 1
        told = {"id": referral_id, "campaign_id": campaign_id, "key": customer_key, "depth": depth, "now": now}
        await tx.execute(stmt, {**told, "parent": parent[0] if parent else ""})
        return depth

    async def report(self, read: Read, campaign_id: str) -> Referrals:
        """How a campaign's content went from hand to hand."""
        stmt = text(
            """
            SELECT count(*) FILTER (WHERE depth = 0) AS recipients, count(*) FILTER (WHERE depth > 0) AS forwards,
                coalesce(max(depth), 0) AS depth,
                count(*) FILTER (WHERE depth > 0 AND EXISTS (
                    SELECT FROM opening JOIN offer USING (product_id)
                    WHERE offer.campaign_id = referral.campaign_id AND opening.customer_key = referral.customer_key
                        AND opening.open_time >= referral.create_time
                        AND opening.open_time < referral.create_time + CAST(:attribution AS interval))) AS openings
            FROM referral WHERE campaign_id = :campaign_id
            """
        )
        row = await read.row(stmt, {"campaign_id": campaign_id, "attribution": ATTRIBUTION})
        assert row is not None
        return Referrals(**row._asdict())
