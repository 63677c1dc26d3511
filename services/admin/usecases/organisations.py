"""Organisations: kept by administrators, and taken from the operator's own file."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from services.admin import refusals
from services.admin.domain.grant import Actor
from services.admin.domain.organisation import Organisation, place
from services.admin.store import Store, Versioned
from services.admin.usecases.auditing import Audit
from services.kit import idempotency, outbox
from services.kit.clock import Clock
from services.kit.db import Database, Write
from services.kit.idempotency import RequestKey

KIND = "organisation"


@dataclass(frozen=True)
class Organisations:
    """The tree."""

    db: Database
    clock: Clock
    store: Store
    audit: Audit

    async def create(self, key: RequestKey, actor: Actor, new: Organisation) -> Versioned[Organisation]:
        """Add one below an organisation of the caller's. Raises organisation_exists, organisation_misplaced."""
        async with self.audit.trying(actor, "CreateOrganisation", new.org_id) as now, self.db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                actor.reaches(new.parent_org_id)
                place(new, {each.org_id: each for each in await self.store.organisations.all(tx)})
                if not await self.store.organisations.add(tx, new, now):
                    raise refusals.organisation_exists(new.org_id)
                await self._tell(tx, new)
                await self.audit.done(tx, actor, "CreateOrganisation", new.org_id, now, parent=new.parent_org_id)
                await idempotency.answer(tx, key, {})
            made = await self._one(await self.store.organisations.get(tx, new.org_id), new.org_id)
            await tx.commit()
            return made

    async def get(self, org_id: str) -> Versioned[Organisation]:
        """One that the caller sees. Raises organisation_not_found."""
        async with self.db.read() as read:
            return await self._one(await self.store.organisations.get(read, org_id), org_id)

    async def update(
        self, key: RequestKey, actor: Actor, org_id: str, changes: dict[str, object], etag: str
    ) -> Versioned[Organisation]:
        """Change one that the caller sees. Raises organisation_not_found, organisation_misplaced, etag_changed."""
        async with self.audit.trying(actor, "UpdateOrganisation", org_id) as now, self.db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                old = await self._one(await self.store.organisations.locked(tx, org_id), org_id)
                if actor.domain is not None and org_id not in actor.domain:
                    raise refusals.organisation_not_found(org_id)
                if etag and etag != str(old.version):
                    raise refusals.etag_changed(str(old.version))
                new = dataclasses.replace(old.value, **changes)  # type: ignore[arg-type]
                if new.parent_org_id != old.value.parent_org_id:
                    actor.reaches(new.parent_org_id)
                place(new, {each.org_id: each for each in await self.store.organisations.all(tx)})
                await self.store.organisations.change(tx, new, now)
                await self._tell(tx, new)
                await self.audit.done(tx, actor, "UpdateOrganisation", org_id, now, **changes)
                await idempotency.answer(tx, key, {})
            made = await self._one(await self.store.organisations.get(tx, org_id), org_id)
            await tx.commit()
            return made

    async def page(self, after: Sequence[str], size: int, parent: str) -> list[Versioned[Organisation]]:
        """Those that the caller sees, by id."""
        async with self.db.read() as read:
            where = {"parent_org_id": parent} if parent else {}
            return await self.store.organisations.page(read, after, size, where)

    async def take(self, tx: Write, told: Sequence[Organisation]) -> None:
        """Take over the operator's file: what it names stands as it says; what it does not name stays."""
        now = self.clock()
        known = {each.org_id: each for each in await self.store.organisations.all(tx)}
        for new in told:
            if new.org_id not in known:
                await self.store.organisations.add(tx, new, now)
            elif dataclasses.replace(known[new.org_id], disabled=new.disabled) != new:
                await self.store.organisations.change(tx, new, now)
            else:
                continue
            await self._tell(tx, new)

    async def _one(self, found: Versioned[Organisation] | None, org_id: str) -> Versioned[Organisation]:
        if found is None:
            raise refusals.organisation_not_found(org_id)
        return found

    async def _tell(self, tx: Write, new: Organisation) -> None:
        await outbox.put(tx, KIND, new.org_id, dataclasses.asdict(new))
