"""What time sends: subscriptions become messages, messages go out through the gateways of their channels."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo

from services.contact.domain.benefit import QUEUED, WITHHELD, Message, Receipt, Subscription, next_send, settled
from services.contact.domain.campaign import Campaign
from services.contact.domain.policy import Policy, Touch, Wish, business_day, later
from services.contact.domain.reservation import CONFIRMED, LIFE, RESERVED, Decided, Kind, grant_id
from services.contact.domain.standing import Standing
from services.contact.store import Store
from services.kit.clock import Clock
from services.kit.db import Database, Read, Write

Gateway = Callable[[Sequence[Message]], Awaitable[Sequence[Receipt]]]
"""The port of every channel: messages in, an answer to each that was taken or refused. It takes each id once.

A message of which nothing is answered is sent again. Messages carry the customer key: the channel resolves its user.
"""

_SWEEP = 200
_MESSAGE = "message"
STOPPED, UNKNOWN = "campaign stopped", "not a customer"
"""Why a message is withheld, beside the refusals of the rules."""


class Sender:
    """Queues and sends. Every message is a contact: it is kept to the rules, and counted, like a decision online."""

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
                following = next_send(one, now, self._zone)
                queued = Message(
                    name, one.campaign_id, one.customer_key, one.channel, content, one.next_time, end_time=following
                )
                await self._store.sends.queue(tx, [queued], now)
                over = campaign.end_date < now.astimezone(self._zone).date()
                await self._store.sends.move(tx, one.subscription_id, None if over else following)
            await tx.commit()
        return len(due)

    async def send(self) -> int:
        """Send what is queued; gives how many messages were settled.

        The rules are looked at now, and the contact is counted before the gateway is asked; no transaction is open
        while it is. What the rules do not allow yet waits for its next hour, as long as it is worth sending; what they
        do not allow at all is withheld with the reason. A process that dies before it has kept the answer sends the
        same ids again, and the channel takes each id once.
        """
        now = self._clock()
        async with self._db.begin() as tx:
            claimed = await self._store.sends.claim(tx, self._gateways.keys(), now, _SWEEP)
            judged = await self._judged(tx, claimed, now)
            waiting = [one for one in judged if one.due_time > now or one.state == WITHHELD]
            await self._store.sends.settle(tx, judged, now)
            await self._store.decisions.cancel(tx, [one.grant_id for one in waiting if one.grant_id])
            await tx.commit()
        allowed = [one for one in judged if one not in waiting]
        answers = await asyncio.gather(*(self._through(channel, allowed) for channel in self._gateways))
        told = [one for part in answers for one in part if one.state != QUEUED]
        async with self._db.begin() as tx:
            await self._store.sends.settle(tx, told, now)
            await self._store.decisions.cancel(tx, [one.grant_id for one in told if one.failed])
            await tx.commit()
        return sum(one.state == WITHHELD for one in waiting) + len(told)

    async def _through(self, channel: str, messages: Sequence[Message]) -> list[Message]:
        mine = [one for one in messages if one.channel == channel]
        if not mine:
            return []
        try:
            receipts = await self._gateways[channel](mine)
        except OSError:  # the gateway does not answer: nothing is known of any of them
            receipts = []
        return [settled(one, receipts) for one in mine]

    async def _judged(self, tx: Write, messages: Sequence[Message], now: datetime) -> list[Message]:
        """The messages, those that may go with their grant confirmed, the others put off or withheld."""
        policy = await self._store.policies.latest(tx)
        if policy is None or not messages:  # without rules nothing goes out
            return [dataclasses.replace(one, due_time=now + LIFE) for one in messages]
        since = business_day(now, self._zone) - timedelta(days=policy.widest_window())
        known = await self._store.decisions.lock(tx, {one.customer_key for one in messages}, since, now)
        campaigns = {one.campaign_id: one for one in await self._campaigns(tx, messages)}
        grants = await self._store.decisions.of_ids(tx, [one.grant_id for one in messages if one.grant_id])
        judged, made, confirmed = [], [], []
        fresh: dict[int, list[Touch]] = {}
        for one in messages:
            grant = grants.get(one.grant_id)
            held = grant is not None and grant.state_at(now) in (RESERVED, CONFIRMED)
            counted = [*fresh.get(one.customer_key, ())]
            campaign, standing = campaigns[one.campaign_id], known.get(one.customer_key)
            reason = self._refusal(policy, campaign, standing, one, counted, now, held=held)
            if reason:
                judged.append(self._put_off(policy, one, reason, now))
            elif held:
                judged.append(one)
                confirmed.append(one.grant_id)
            else:
                assert standing is not None, "who is not known was refused"
                mine = self._granted(one, campaign, standing, now)
                made.append(mine)
                judged.append(dataclasses.replace(one, grant_id=mine.grant_id))
                fresh.setdefault(one.customer_key, []).append(
                    Touch(mine.business_day, 1, one.channel, campaign.purpose, mine.kind.product_id)
                )
        await self._store.decisions.add(tx, made)
        await self._store.decisions.confirm(tx, confirmed)
        return judged

    def _refusal(
        self,
        policy: Policy,
        campaign: Campaign,
        standing: Standing | None,
        message: Message,
        counted: Sequence[Touch],
        now: datetime,
        *,
        held: bool,
    ) -> str:
        """Why a message may not go now, or "". One that holds a grant takes up room already; an offer that a customer
        subscribed to does not cool down."""
        on, hour = business_day(now, self._zone), now.astimezone(self._zone).hour
        if standing is None or standing.left:
            return UNKNOWN
        if not campaign.bids_on(on):
            return STOPPED
        asked = standing.asked
        if held:
            asked = asked._replace(earlier=())
        for touch in counted:
            asked = asked.after(touch)
        return policy.refusal(asked, Wish(message.channel, "", "", campaign.purpose), on, hour)

    def _put_off(self, policy: Policy, message: Message, reason: str, now: datetime) -> Message:
        """The message at the next time at which the reason may be gone, or withheld when it is then not worth it."""
        due = later(policy, message.channel, reason, now, self._zone)
        if due is None or (message.end_time is not None and due >= message.end_time):
            return dataclasses.replace(message, state=WITHHELD, receipt=reason)
        return dataclasses.replace(message, due_time=due, receipt=reason, grant_id="")

    def _granted(self, message: Message, campaign: Campaign, standing: Standing, now: datetime) -> Decided:
        """The contact that a message without a grant makes, as it counts for every cap."""
        offer = next((one for one in campaign.offers if one.content == message.content), campaign.offers[0])
        kind = Kind(
            standing.org_id, CONFIRMED, "", message.channel, campaign.purpose, campaign.campaign_id, offer.offer_id,
            offer.product_id, offer.exclusive_group, message.content, "", (),
        )  # fmt: skip
        name, on = grant_id(_MESSAGE, message.message_id, 0), business_day(now, self._zone)
        return Decided(name, _MESSAGE, message.customer_key, 0.0, kind, on, now, now + LIFE, 0)

    async def _campaigns(self, read: Read, of: Sequence[Message | Subscription]) -> list[Campaign]:
        return await self._store.campaigns.of_ids(read, {one.campaign_id for one in of})
