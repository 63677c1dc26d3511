"""Parameters and dictionaries."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.admin import refusals
from services.admin.domain.grant import Actor
from services.admin.store import Records, Versioned
from services.admin.usecases.auditing import Audit
from services.kit import idempotency
from services.kit.db import Database, Read
from services.kit.idempotency import RequestKey

T = TypeVar("T")


@dataclass(frozen=True)
class Settings(Generic[T]):
    """One kind of setting, which belongs to the whole: `noun` is its name in the contract."""

    db: Database
    records: Records[T]
    audit: Audit
    noun: str

    async def create(self, key: RequestKey, actor: Actor, name: Sequence[str], new: T) -> Versioned[T]:
        """Add one. Raises setting_exists, outside_domain."""
        target, action = "/".join(name), f"Create{self.noun}"
        async with self.audit.trying(actor, action, target) as now, self.db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                actor.reaches("")
                if not await self.records.add(tx, new, now):
                    raise refusals.setting_exists(target)
                await self.audit.done(tx, actor, action, target, now)
                await idempotency.answer(tx, key, {})
            made = await self._one(tx, name)
            await tx.commit()
            return made

    async def get(self, name: Sequence[str]) -> Versioned[T]:
        """One by its name. Raises setting_not_found."""
        async with self.db.read() as read:
            return await self._one(read, name)

    async def update(
        self, key: RequestKey, actor: Actor, name: Sequence[str], changes: dict[str, object], etag: str
    ) -> Versioned[T]:
        """Change one. Raises setting_not_found, outside_domain, etag_changed."""
        target, action = "/".join(name), f"Update{self.noun}"
        async with self.audit.trying(actor, action, target) as now, self.db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                actor.reaches("")
                old = await self.records.locked(tx, *name)
                if old is None:
                    raise refusals.setting_not_found(target)
                if etag and etag != str(old.version):
                    raise refusals.etag_changed(str(old.version))
                await self.records.change(tx, dataclasses.replace(old.value, **changes), now)  # type: ignore[type-var]
                await self.audit.done(tx, actor, action, target, now, **changes)
                await idempotency.answer(tx, key, {})
            made = await self._one(tx, name)
            await tx.commit()
            return made

    async def page(
        self, after: Sequence[str], size: int, where: dict[str, str] | None = None, prefix: str = ""
    ) -> list[Versioned[T]]:
        """Settings by name."""
        async with self.db.read() as read:
            return await self.records.page(read, after, size, where, prefix=prefix)

    async def _one(self, read: Read, name: Sequence[str]) -> Versioned[T]:
        found = await self.records.get(read, *name)
        if found is None:
            raise refusals.setting_not_found("/".join(name))
        return found
