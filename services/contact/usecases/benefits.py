"""Benefits, capped and redeemed once; recurring sends through channels; content that goes from hand to hand."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta, tzinfo

from services.contact.domain.benefit import (
    QUEUED,
    WITHHELD,
    Benefit,
    Message,
    Pool,
    Receipt,
    Referrals,
    Subscription,
    next_send,
    redeemable,
    settled,
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

Gateway = Callable[[Sequence[Message]], Awaitable[Sequence[Receipt]]]
"""The port of every channel: messages in, an answer to each that was taken or refused. It takes each id once.

A message of which nothing is answered is sent again. Messages carry the customer key: the channel resolves its user.
"""

_SWEEP = 200


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


class Sender:
    """What time sends: subscriptions become messages, messages go out through the gateways of their channels."""

    def __init__(self, db: Database, store: Store, clock: Clock, zone: tzinfo, gateways: Mapping[str, Gateway]) -> None:
        self._db = db
        self._store = store
        self._clock = clock
        self._zone = zone
        self._gateways = gateways

    async def queue(self) -> int:
        """Queue what is due of subscriptions, each time once; gives how many. A time long past is sent once, now."""
        now = self._clock()
        async with self._db.begin() as tx:
            due = await self._store.sends.due(tx, now, _SWEEP)
            campaigns = {one.campaign_id: one for one in await self._campaigns(tx, due)}
            for one in due:
                campaign = campaigns[one.campaign_id]
                assert one.next_time is not None, "what is due has a time"
                content = campaign.offers[0].content
                name = f"{one.subscription_id}@{one.next_time:%Y%m%d%H}"
                queued = Message(name, one.campaign_id, one.customer_key, one.channel, content, one.next_time)
                await self._store.sends.queue(tx, [queued], now)
                over = campaign.end_date < now.astimezone(self._zone).date()
                await self._store.sends.move(tx, one.subscription_id, None if over else next_send(one, now, self._zone))
            await tx.commit()
        return len(due)

    async def send(self) -> int:
        """Send what is queued; gives how many messages were settled.

        Consent and campaign are looked at now; no transaction is open while a gateway is asked. A process that dies
        before it has kept the answer sends the same ids again, and the channel takes each id once.
        """
        now = self._clock()
        async with self._db.begin() as tx:
            claimed = await self._store.sends.claim(tx, self._gateways.keys(), now, _SWEEP)
            allowed = await self._allowed(tx, claimed)
            withheld = [dataclasses.replace(one, state=WITHHELD) for one in claimed if one not in allowed]
            await self._store.sends.settle(tx, withheld, now)
            await tx.commit()
        answers = await asyncio.gather(*(self._through(channel, allowed) for channel in self._gateways))
        told = [one for part in answers for one in part if one.state != QUEUED]
        async with self._db.begin() as tx:
            await self._store.sends.settle(tx, told, now)
            await tx.commit()
        return len(withheld) + len(told)

    async def _through(self, channel: str, messages: Sequence[Message]) -> list[Message]:
        mine = [one for one in messages if one.channel == channel]
        if not mine:
            return []
        try:
            receipts = await self._gateways[channel](mine)
        except OSError:  # the gateway does not answer: nothing is known of any of them
            receipts = []
        return [settled(one, receipts) for one in mine]

    async def _allowed(self, tx: Write, messages: Sequence[Message]) -> list[Message]:
        consenting = await self._store.customers.consenting(tx, {one.customer_key for one in messages})
        live = {one.campaign_id for one in await self._campaigns(tx, messages) if one.state in (PILOT, ACTIVE)}
        return [one for one in messages if one.campaign_id in live and (one.customer_key, one.channel) in consenting]

    async def _campaigns(self, read: Read, of: Sequence[Message | Subscription]) -> list[Campaign]:
        return await self._store.campaigns.of_ids(read, {one.campaign_id for one in of})
