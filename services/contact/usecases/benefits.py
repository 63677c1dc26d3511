"""Benefits, capped and redeemed once; recurring sends through channels; content that goes from hand to hand."""

import dataclasses
from datetime import timedelta, tzinfo

from services.contact.domain.benefit import (
    Benefit,
    Message,
    Pool,
    Referrals,
    Subscription,
    next_send,
    redeemable,
)
from services.contact.domain.campaign import ACTIVE, PILOT, Campaign
from services.contact.domain.campaign_type import RECURRING
from services.contact.refusals import (
    benefits_exhausted,
    campaign_invalid,
    campaign_not_found,
    campaign_state,
    order_invalid,
    thing_not_found,
)
from services.contact.store import Store
from services.kit import idempotency
from services.kit.clock import Clock
from services.kit.db import Database, Read, Write
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids


class Benefits:
    """Pools, benefits, subscriptions and forwards, as callers ask for them."""

    def __init__(self, db: Database, store: Store, clock: Clock, ids: Ids, zone: tzinfo) -> None:
        self._db = db
        self._store = store
        self._clock = clock
        self._ids = ids
        self._zone = zone

    async def create_pool(self, key: RequestKey, pool: Pool, org_id: str) -> Pool:
        """Set a pool. Raises campaign_not_found, campaign_invalid when the campaign has one of the kind."""
        async with self._db.begin() as tx:
            await self._campaign(tx, pool.campaign_id)
            if await idempotency.remember(tx, key) is None:
                if not await self._store.benefits.add_pool(tx, pool, org_id):
                    raise campaign_invalid("pool.kind", "has a pool in this campaign")
                await idempotency.answer(tx, key, {})
                await tx.commit()
        return pool

    async def pools(self, campaign_id: str) -> list[Pool]:
        """The pools of a campaign with what came of them. Raises campaign_not_found."""
        async with self._db.read() as read:
            await self._campaign(read, campaign_id)
            return await self._store.benefits.pools(read, campaign_id)

    async def issue(self, key: RequestKey, campaign_id: str, kind: str, customer_key: int) -> Benefit:
        """Give a customer the benefit that he has, or a new one. Raises campaign_state, benefits_exhausted."""
        now = self._clock()
        async with self._db.begin() as tx:
            await idempotency.remember(tx, key)  # the natural key makes the answer, for ever
            campaign = await self._campaign(tx, campaign_id)
            has = await self._store.benefits.of_customer(tx, campaign_id, kind, customer_key)
            if has is not None:
                return has
            if campaign.state not in (PILOT, ACTIVE):
                raise campaign_state(campaign_id, campaign.state, f"{PILOT} or {ACTIVE}")
            terms = await self._store.benefits.take(tx, campaign_id, kind)
            # Whoever asked for the same customer at once has held the pool until he was through.
            has = await self._store.benefits.of_customer(tx, campaign_id, kind, customer_key)
            if has is not None:
                return has
            if terms is None:
                raise benefits_exhausted(campaign_id, kind)
            orgs = await self._store.customers.orgs(tx, [customer_key])
            made = Benefit(
                benefit_id=self._ids(),
                campaign_id=campaign_id,
                kind=kind,
                customer_key=customer_key,
                product_id=terms["product_id"],
                value_fen=terms["value_fen"],
                issue_time=now,
                expire_time=now + timedelta(days=terms["valid_days"]),
            )
            await self._store.benefits.add(tx, made, orgs.get(customer_key, ""))
            await idempotency.answer(tx, key, {})
            await tx.commit()
        return made

    async def redeem(self, key: RequestKey, benefit_id: str) -> Benefit:
        """Redeem a benefit, once. Raises thing_not_found, benefit_state."""
        now = self._clock()
        async with self._db.begin() as tx:
            benefit = await self._store.benefits.for_update(tx, benefit_id)
            if benefit is None:
                raise thing_not_found("benefit", benefit_id)
            if await idempotency.remember(tx, key) is not None:
                return benefit
            redeemable(benefit, now)
            await self._store.benefits.redeem(tx, benefit_id, now)
            await idempotency.answer(tx, key, {})
            await tx.commit()
        return dataclasses.replace(benefit, redeem_time=now)

    async def benefits(self, customer_key: int, after: int, size: int) -> list[Benefit]:
        """The benefits of a customer, the latest first."""
        async with self._db.read() as read:
            return await self._store.benefits.page(read, customer_key, after, size)

    async def subscribe(self, key: RequestKey, asked: Subscription) -> Subscription:
        """Subscribe a customer. Raises campaign_not_found, campaign_invalid, order_invalid for an unknown customer."""
        async with self._db.begin() as tx:
            campaign = await self._campaign(tx, asked.campaign_id)
            if campaign.type != RECURRING:
                raise campaign_invalid("subscription.campaign_id", f"names a campaign that is not {RECURRING}")
            orgs = await self._store.customers.orgs(tx, [asked.customer_key])
            if asked.customer_key not in orgs:
                raise order_invalid("subscription.customer_key", "is no customer that is known")
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await self._subscription(tx, earlier["id"])
            made = dataclasses.replace(asked, subscription_id=self._ids())
            made = dataclasses.replace(made, next_time=next_send(made, self._clock(), self._zone))
            if not await self._store.sends.subscribe(tx, made, orgs[asked.customer_key]):
                raise campaign_invalid("subscription.customer_key", "is subscribed to this campaign")
            await idempotency.answer(tx, key, {"id": made.subscription_id})
            await tx.commit()
        return made

    async def unsubscribe(self, key: RequestKey, subscription_id: str) -> Subscription:
        """End a subscription; one that has ended stays so. Raises thing_not_found."""
        async with self._db.begin() as tx:
            subscription = await self._subscription(tx, subscription_id)
            if await idempotency.remember(tx, key) is None:
                await self._store.sends.move(tx, subscription_id, None)
                await idempotency.answer(tx, key, {})
                await tx.commit()
        return dataclasses.replace(subscription, next_time=None)

    async def messages(self, campaign_id: str, after: int, size: int) -> list[Message]:
        """The messages of a campaign, the latest first. Raises campaign_not_found."""
        async with self._db.read() as read:
            await self._campaign(read, campaign_id)
            return await self._store.sends.page(read, campaign_id, after, size)

    async def forward(self, key: RequestKey, campaign_id: str, giver: int, receiver: int) -> tuple[int, bool]:
        """Record that a content was passed on; gives the receiver's depth, and whether he had it before."""
        if giver == receiver:
            raise campaign_invalid("to_customer_key", "is the one who passed it on")
        now = self._clock()
        async with self._db.begin() as tx:
            if await self._store.campaigns.for_update(tx, campaign_id) is None:  # one at a time in a campaign
                raise campaign_not_found(campaign_id)
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return earlier["depth"], earlier["existing"]
            had = await self._store.forwards.depth(tx, campaign_id, receiver)
            depth = had[1] if had else 0
            if had is None:
                parent = await self._store.forwards.depth(tx, campaign_id, giver)
                if parent is None:
                    first = self._ids()
                    parent = (first, await self._store.forwards.add(tx, first, campaign_id, giver, None, now))
                depth = await self._store.forwards.add(tx, self._ids(), campaign_id, receiver, parent, now)
            await idempotency.answer(tx, key, {"depth": depth, "existing": had is not None})
            await tx.commit()
        return depth, had is not None

    async def referrals(self, campaign_id: str) -> Referrals:
        """How a content went from hand to hand. Raises campaign_not_found."""
        async with self._db.read() as read:
            await self._campaign(read, campaign_id)
            return await self._store.forwards.report(read, campaign_id)

    async def _campaign(self, read: Read, campaign_id: str) -> Campaign:
        campaign = await self._store.campaigns.get(read, campaign_id)
        if campaign is None:
            raise campaign_not_found(campaign_id)
        return campaign

    async def _subscription(self, tx: Write, subscription_id: str) -> Subscription:
        found = await self._store.sends.subscription(tx, subscription_id)
        if found is None:
            raise thing_not_found("subscription", subscription_id)
        return found
