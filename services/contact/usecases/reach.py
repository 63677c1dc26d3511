"""Whom campaigns reach: the audiences of their briefs, held as portrait tells them, and moments that trigger them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import numpy as np
import structlog

from services.contact.domain.benefit import Message
from services.contact.domain.campaign import APPROVED, PAUSED, Campaign
from services.contact.domain.experiment import Ints
from services.contact.domain.fact import Moment
from services.contact.domain.membership import members
from services.contact.domain.policy import MALL, ORDER, STORE, WEB
from services.contact.refusals import inputs_incomplete
from services.contact.store import Store
from services.contact.usecases.deciding import Ask
from services.contact.usecases.decisions import MOMENT_LIFE, Decisions
from services.kit.clock import Clock
from services.kit.db import Database, Write
from services.kit.errors import Refusal

Members = Callable[[str], Awaitable[Ints]]
"""An expression over portrait's tags → the customers who fulfil it in its latest run. Raises OSError when not told."""
Check = Callable[[str], Awaitable[str]]
"""An expression over portrait's tags → what is wrong with it; "" for nothing."""

_MOST = 200
_KEPT = timedelta(days=2)
_log = structlog.get_logger(__name__)


class Audiences:
    """Holds whom campaigns reach that do not reach everybody."""

    def __init__(self, db: Database, store: Store, told: Members) -> None:
        self._db = db
        self._store = store
        self._told = told

    async def run_published(self, tx: Write, run_id: str) -> None:
        """Portrait published a run: who belonged may belong no more."""
        await self._store.audiences.outdate(tx)

    async def renew(self) -> int:
        """Load the members of campaigns that may soon bid and have none, or stale ones; gives how many.

        What cannot be loaded now stays as it was, and is tried again.
        """
        async with self._db.read() as read:
            campaigns = await self._store.campaigns.in_states(read, (APPROVED, PAUSED))
            campaigns += await self._store.campaigns.active(read)
        try:
            return await self._load(campaigns)
        except OSError as error:
            _log.warning("audience_not_told", error=str(error))
            return 0

    async def ready(self, campaigns: Sequence[Campaign]) -> None:
        """Have the members of each of these campaigns as of portrait's latest run. Raises inputs_incomplete."""
        try:
            await self._load(campaigns)
        except OSError as error:
            raise inputs_incomplete(f"audience: {error}") from error

    async def _load(self, campaigns: Sequence[Campaign]) -> int:
        wanted = [one for one in campaigns if one.limited]
        async with self._db.read() as read:
            known = await self._store.audiences.loaded(read, [one.campaign_id for one in wanted])
        loaded = 0
        for one in wanted:
            has = known.get(one.campaign_id)
            if has is None or has.stale or has.expression != one.audience:
                found = members(await self._whom(one))
                async with self._db.begin() as tx:
                    await self._store.audiences.put(tx, one.campaign_id, one.org_id, one.audience, found)
                    await tx.commit()
                loaded += 1
        return loaded

    async def _whom(self, campaign: Campaign) -> Ints:
        """Its audience; of a campaign that an organisation runs, those who are customers of it or of one below it."""
        told = await self._told(campaign.audience) if campaign.audience else None
        if not campaign.org_id:
            assert told is not None, "whoever is not limited has no members"
            return told
        async with self._db.read() as read:
            own = await self._store.customers.of_organisation(read, campaign.org_id)
        return own if told is None else np.intersect1d(told, own)


class Moments:
    """What happens to customers, and the messages that campaigns send on it."""

    def __init__(self, db: Database, store: Store, clock: Clock, decisions: Decisions) -> None:
        self._db = db
        self._store = store
        self._clock = clock
        self._decisions = decisions

    async def told(self, tx: Write, moments: Sequence[Moment]) -> None:
        """Moment rules matched; a match that is over by now counts no more."""
        since = self._clock() - MOMENT_LIFE
        live = [one for one in moments if one.match_time > since and one.customer_key]
        if live:
            await self._store.moments.put(tx, live)

    async def act(self) -> int:
        """Ask for each new moment whether a campaign that waits for it sends, and queue what is granted.

        The moment's id is the request's, so that whoever dies in between finds the same grant and the same message.
        Raises inputs_incomplete, and what reading the scores raises; the moments wait.
        """
        now = self._clock()
        async with self._db.begin() as tx:
            waiting = await self._store.moments.waiting(tx, now - MOMENT_LIFE, _MOST)
            campaigns = await self._store.campaigns.active(tx)
            policy = await self._store.policies.latest(tx)
        told = [(moment, _channels(campaigns, moment.pattern_id)) for moment in waiting if policy is not None]
        if any(channels for _, channels in told):
            await self._decisions.ready()  # a process that has no scores yet would find nothing to offer
        sent = await asyncio.gather(*(self._decided(moment, channels) for moment, channels in told if channels))
        async with self._db.begin() as tx:
            await self._store.sends.queue(tx, [message for messages in sent for message in messages], now)
            await self._store.moments.acted(tx, [one.moment_id for one in waiting])
            await self._store.moments.forget(tx, now - _KEPT)
            await tx.commit()
        return len(waiting)

    async def _decided(self, moment: Moment, channels: Sequence[str]) -> list[Message]:
        """The one message that the moment leads to, if any: the best of all channels."""
        place = tuple(("", channel) for channel in channels)
        ask = Ask("moments", moment.moment_id, moment.customer_key, place, moment.pattern_id)
        try:
            answers = await self._decisions.decide(ask)
        except Refusal as refusal:  # asked before under other campaigns: what was granted then ends by itself
            _log.warning("moment_not_decided", moment_id=moment.moment_id, reason=refusal.reason)
            return []
        granted = [one.decided for one in answers if one.decided.offer_id]
        granted.sort(key=lambda one: (-one.bid_fen, one.grant_id))
        for one in granted[1:]:  # a moment is worth one message, by whichever channel it does most
            await self._decisions.cancel(one.grant_id)
        return [
            Message(
                message_id=one.grant_id,
                campaign_id=one.kind.campaign_id,
                customer_key=one.customer_key,
                channel=one.kind.channel,
                content=one.kind.content,
                due_time=one.decide_time,
                grant_id=one.grant_id,
                end_time=one.decide_time + MOMENT_LIFE,
            )
            for one in granted[:1]
        ]


def _channels(campaigns: Sequence[Campaign], moment: str) -> list[str]:
    """The channels by which campaigns that wait for a moment send: not those that wait for the customer to come."""
    found = {
        channel for one in campaigns if moment in one.moments for offer in one.offers for channel in offer.channels
    }
    return sorted(found - {WEB, MALL, STORE, ORDER})
