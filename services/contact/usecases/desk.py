"""What marketing decides beforehand: the policy, and campaigns with their offers."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.contact.domain.campaign import ACTIVE, CLOSED, Campaign, drafted, moved
from services.contact.domain.policy import Policy, checked
from services.contact.refusals import campaign_invalid, campaign_not_found, inputs_incomplete
from services.contact.store import Store
from services.kit import idempotency
from services.kit.clock import Clock
from services.kit.db import Database, Read
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids


class Desk:
    """Policy and campaigns."""

    def __init__(self, db: Database, store: Store, clock: Clock, ids: Ids) -> None:
        self._db = db
        self._store = store
        self._clock = clock
        self._ids = ids

    async def update_policy(self, key: RequestKey, policy: Policy) -> Policy:
        """Set the policy; the next decision goes by it. Raises policy_invalid."""
        checked(policy)
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await self._store.policies.version(tx, earlier["version"])
            kept = await self._store.policies.add(tx, policy, self._clock())
            await idempotency.answer(tx, key, {"version": kept.version})
            await tx.commit()
        return kept

    async def policy(self) -> Policy:
        """The policy in force. Raises inputs_incomplete when none was ever set."""
        async with self._db.read() as read:
            policy = await self._store.policies.latest(read)
        if policy is None:
            raise inputs_incomplete("policy")
        return policy

    async def create_campaign(self, key: RequestKey, campaign: Campaign) -> Campaign:
        """Write a draft. Raises campaign_invalid, also when the name is taken."""
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await self._as_answered(tx, earlier)
            await self._store.campaigns.lock_name(tx, campaign.name)
            taken = await self._store.campaigns.id_of(tx, campaign.name)
            if taken is not None:
                raise campaign_invalid("name", f"is taken by campaign {taken}")
            draft = drafted(campaign, self._ids(), self._clock())
            await self._store.campaigns.add(tx, draft)
            await idempotency.answer(tx, key, _answer(draft))
            await tx.commit()
        return draft

    async def activate_campaign(self, key: RequestKey, campaign_id: str, etag: str) -> Campaign:
        """Let a draft bid. Raises campaign_not_found, campaign_changed, campaign_state."""
        return await self._move(key, campaign_id, etag, ACTIVE)

    async def close_campaign(self, key: RequestKey, campaign_id: str, etag: str) -> Campaign:
        """Stop a campaign's bids. Raises campaign_not_found, campaign_changed, campaign_state."""
        return await self._move(key, campaign_id, etag, CLOSED)

    async def campaign(self, campaign_id: str) -> Campaign:
        """One campaign. Raises campaign_not_found."""
        async with self._db.read() as read:
            campaign = await self._store.campaigns.get(read, campaign_id)
        if campaign is None:
            raise campaign_not_found(campaign_id)
        return campaign

    async def campaigns(self, name: str, after: tuple[datetime, str] | None, size: int) -> list[Campaign]:
        """Campaigns, the latest first, those after (create_time, campaign_id); of one name, or of all when it is ""."""
        async with self._db.read() as read:
            return await self._store.campaigns.page(read, name, after, size)

    async def _move(self, key: RequestKey, campaign_id: str, etag: str, state: str) -> Campaign:
        async with self._db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is not None:
                return await self._as_answered(tx, earlier)
            campaign = await self._store.campaigns.for_update(tx, campaign_id)
            if campaign is None:
                raise campaign_not_found(campaign_id)
            campaign = moved(campaign, state, etag)
            await self._store.campaigns.move(tx, campaign)
            await idempotency.answer(tx, key, _answer(campaign))
            await tx.commit()
        return campaign

    async def _as_answered(self, read: Read, earlier: Mapping[str, Any]) -> Campaign:
        """The campaign as it stood when the request was first answered: only state and revision ever change."""
        campaign = await self._store.campaigns.get(read, earlier["campaign_id"])
        assert campaign is not None, "a campaign is never deleted"
        return dataclasses.replace(campaign, state=earlier["state"], revision=earlier["revision"])


def _answer(campaign: Campaign) -> Mapping[str, Any]:
    return {"campaign_id": campaign.campaign_id, "state": campaign.state, "revision": campaign.revision}
