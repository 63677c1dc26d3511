"""The life of rule sets."""

import asyncio
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from services.kit import idempotency
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids
from services.points import refusals
from services.points.domain.period import business_day
from services.points.domain.rule_set import checksum
from services.points.domain.rule_text import parse
from services.points.domain.version import State, Version, check_publishable, days_scored_by
from services.points.store import Store


@dataclass(frozen=True)
class RuleBook:
    """Writes, publishes and gives rule sets."""

    db: Database
    clock: Clock
    ids: Ids
    zone: ZoneInfo
    store: Store

    async def create(self, key: RequestKey, name: str, definition: str, author: str) -> Version:
        """Keep a draft that passes validation. Raises rule_set_invalid with the place."""
        rules = await asyncio.to_thread(parse, definition)
        async with self.db.begin() as tx:
            earlier = await idempotency.remember(tx, key)
            if earlier is None:
                await self.store.rule_sets.lock_name(tx, name)
                number = await self.store.rule_sets.next_version(tx, name)
                draft = Version(
                    self.ids(), name, number, State.DRAFT, definition, checksum(rules), None, author, "", self.clock()
                )
                await self.store.rule_sets.add(tx, draft)
                earlier = {"rule_set_id": draft.rule_set_id}
                await idempotency.answer(tx, key, earlier)
            version = await self.store.rule_sets.get(tx, earlier["rule_set_id"], self._today())
            await tx.commit()
        assert version is not None
        return version

    async def publish(self, key: RequestKey, rule_set_id: str, sha256: str, effective: date, publisher: str) -> Version:
        """Let a reviewed draft score from a business day on; the day must not change what is scored already."""
        now = await self._proved_now(rule_set_id)
        async with self.db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                await self.store.ledger.lock(tx)
                draft = await self.store.rule_sets.get(tx, rule_set_id, self._today())
                if draft is None:
                    raise refusals.rule_set_not_found(rule_set_id)
                taken = await self.store.rule_sets.effective_dates(tx, draft.name)
                check_publishable(draft, sha256, effective, publisher, taken)
                if now != sha256:
                    raise refusals.rule_set_hash_changed(now)
                scored = await self.store.events.scored_between(tx, *days_scored_by(effective, taken))
                if scored is not None:
                    raise refusals.effective_date_scored(effective.isoformat(), scored.isoformat())
                await self.store.rule_sets.publish(tx, rule_set_id, effective, publisher, self.clock())
                await self.store.references.grow(tx)
                await idempotency.answer(tx, key, {"rule_set_id": rule_set_id})
            version = await self.store.rule_sets.get(tx, rule_set_id, self._today())
            await tx.commit()
        assert version is not None
        return version

    async def get(self, rule_set_id: str) -> Version:
        """One version. Raises rule_set_not_found."""
        async with self.db.read() as read:
            version = await self.store.rule_sets.get(read, rule_set_id, self._today())
        if version is None:
            raise refusals.rule_set_not_found(rule_set_id)
        return version

    async def page(self, name: str, after: tuple[datetime, str] | None, size: int) -> list[Version]:
        """Versions, the latest first."""
        async with self.db.read() as read:
            return await self.store.rule_sets.page(read, self._today(), name, after, size)

    async def _proved_now(self, rule_set_id: str) -> str:
        """A draft's bounds proved once more, and its checksum by the rules of today; "" when it is no draft.

        Before the ledger is locked, which nothing slow may hold: a definition never changes.
        """
        async with self.db.read() as read:
            draft = await self.store.rule_sets.get(read, rule_set_id, self._today())
        if draft is None or draft.state is not State.DRAFT:
            return ""
        return checksum(await asyncio.to_thread(parse, draft.definition))

    def _today(self) -> date:
        return business_day(self.clock(), self.zone)
