"""The life of rule sets."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from services.kit import idempotency, operations
from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.idempotency import RequestKey
from services.kit.ids import Ids
from services.points import refusals
from services.points.domain import rule_sheet
from services.points.domain.effect import Effect, effect_of
from services.points.domain.gate import Finding, findings, prove_bounds
from services.points.domain.month import Wanted
from services.points.domain.period import business_day
from services.points.domain.posting import Rules
from services.points.domain.rule_set import checksum
from services.points.domain.rule_text import dump, parse
from services.points.domain.scoring import Compiled
from services.points.domain.version import State, Version, check_approvable, check_publishable, days_scored_by
from services.points.store import Store
from services.points.usecases import months


@dataclass(frozen=True)
class RuleBook:
    """Writes, publishes and gives rule sets."""

    db: Database
    clock: Clock
    ids: Ids
    zone: ZoneInfo
    store: Store

    async def create(self, key: RequestKey, name: str, definition: str, author: str, workbook: bytes = b"") -> Version:
        """Keep a draft that can be read, of YAML or of a workbook. Raises rule_set_invalid with the place."""
        rules = await asyncio.to_thread(lambda: rule_sheet.parse(workbook) if workbook else parse(definition))
        definition = await asyncio.to_thread(dump, rules) if workbook else definition
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

    async def validate(self, key: RequestKey, rule_set_id: str) -> tuple[Version, list[Finding], int]:
        """Prove the bounds and list what to look at. Raises rule_set_not_found, rule_set_state, rule_set_invalid."""
        rules = await asyncio.to_thread(parse, (await self.get(rule_set_id)).definition)
        most, found = prove_bounds(rules), await asyncio.to_thread(findings, rules)
        version = await self._advance(key, rule_set_id, (State.DRAFT,), state=State.VALIDATED.value)
        return version, found, most

    async def simulate(self, key: RequestKey, rule_set_id: str, period_id: str) -> tuple[Version, Effect]:
        """Show what a month's real events would give; the preview is bound to the checksum of what was scored."""
        version = await self.get(rule_set_id)
        states = (State.VALIDATED, State.SIMULATED)
        if version.state not in states:  # unless this very request went through before
            version = await self._advance(key, rule_set_id, states)
            async with self.db.read() as read:
                return version, Effect(**await self.store.rule_sets.simulation(read, rule_set_id))
        rules = await asyncio.to_thread(parse, version.definition)
        compiled = Rules(rule_set_id, checksum(rules), await asyncio.to_thread(Compiled, rules))
        async with self.db.read() as read:
            period_id = period_id or await self.store.months.last_month(read)
            month = None if not period_id else await months.load(read, self.store, period_id)
            posted = await self.store.months.posted(read, period_id)
        effective = [("simulated", date(1900, 1, 1), rule_set_id)]
        known = {rule_set_id: compiled}
        wanted = Wanted({}, {}, 0) if month is None else await asyncio.to_thread(
            months.score, month, self.zone, effective, known, by_sql=False
        )  # fmt: skip
        effect = effect_of(period_id, compiled.sha256, rules, wanted, *posted, prove_bounds(rules))
        values: dict[str, Any] = {
            "state": State.SIMULATED.value,
            "previewed_sha256": compiled.sha256,
            "simulation": effect.value(),
        }
        return await self._advance(key, rule_set_id, states, **values), effect

    async def approve(self, key: RequestKey, rule_set_id: str, sha256: str, approver: str) -> Version:
        """Approve what was simulated. Raises rule_set_state, rule_set_hash_changed, second_person."""
        return await self._advance(
            key, rule_set_id, (State.SIMULATED,), lambda version: check_approvable(version, sha256, approver),
            state=State.APPROVED.value, approver=approver,
        )  # fmt: skip

    async def workbook(self, rule_set_id: str) -> bytes:
        """A version as an Excel workbook. Raises rule_set_not_found."""
        version = await self.get(rule_set_id)
        return await asyncio.to_thread(lambda: rule_sheet.dump(parse(version.definition)))

    async def _advance(
        self, key: RequestKey, rule_set_id: str, states: Sequence[State],
        check: Callable[[Version], None] = lambda _: None, **values: Any,
    ) -> Version:  # fmt: skip
        async with self.db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                version = await self.store.rule_sets.get(tx, rule_set_id, self._today())
                if version is None:
                    raise refusals.rule_set_not_found(rule_set_id)
                if version.state not in states:
                    raise refusals.rule_set_state(version.state.value, states[0].value)
                check(version)
                await self.store.rule_sets.advance(tx, rule_set_id, **values)
                await operations.record(tx, key.action, rule_set_id, sha256=version.sha256)
                await idempotency.answer(tx, key, {})
            version = await self.store.rule_sets.get(tx, rule_set_id, self._today())
            await tx.commit()
        assert version is not None
        return version

    async def publish(
        self, key: RequestKey, rule_set_id: str, sha256: str, effective: date, publisher: str,
        *, retroactive: bool = False,
    ) -> Version:  # fmt: skip
        """Let an approved version score from a day on; what is scored already changes by recalculation only."""
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
                if scored is not None and not retroactive:
                    raise refusals.effective_date_scored(effective.isoformat(), scored.isoformat())
                await self.store.rule_sets.publish(tx, rule_set_id, effective, publisher, self.clock())
                await self.store.references.grow(tx)
                await operations.record(tx, "points.PublishRuleSet", rule_set_id, sha256=sha256, from_day=effective)
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
        if draft is None or draft.state in (State.PUBLISHED, State.RETIRED):
            return ""
        return checksum(await asyncio.to_thread(parse, draft.definition))

    def _today(self) -> date:
        return business_day(self.clock(), self.zone)
