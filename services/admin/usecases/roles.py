"""Roles and permissions."""

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.admin import refusals
from services.admin.domain.grant import Actor, held
from services.admin.domain.role import Catalogue, Permission, Role, visible
from services.admin.store import Store, Versioned
from services.admin.usecases.auditing import Audit
from services.kit import idempotency, outbox
from services.kit.clock import Clock
from services.kit.db import Database, Read, Write
from services.kit.domains import Known
from services.kit.idempotency import RequestKey

KIND = "role"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""When the platform's own roles last changed: never."""


@dataclass(frozen=True)
class Roles:
    """What may be granted."""

    db: Database
    clock: Clock
    store: Store
    audit: Audit
    catalogue: Catalogue
    known: Known

    def actor(self, subject: str, org_id: str, domain: frozenset[str] | None, roles: Collection[str]) -> Actor:
        """The caller in hand with everything that he may do."""
        known = {**self.known.directory.roles, **self.catalogue.built_in()}
        return Actor(subject, org_id, domain, held(roles, known))

    async def create(self, key: RequestKey, actor: Actor, new: Role) -> Versioned[Role]:
        """Add one. Raises role_exists, role_built_in, permission_not_found, not_held, outside_domain."""
        async with self.audit.trying(actor, "CreateRole", new.role_id) as now, self.db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                self.catalogue.check(new)
                actor.reaches(new.owner_org_id)
                actor.holds(new.permissions)
                if not await self.store.roles.add(tx, new, now):
                    raise refusals.role_exists(new.role_id)
                await self._tell(tx, new)
                await self.audit.done(tx, actor, "CreateRole", new.role_id, now, permissions=len(new.permissions))
                await idempotency.answer(tx, key, {})
            made = await self._one(tx, new.role_id)
            await tx.commit()
            return made

    async def get(self, actor: Actor, role_id: str) -> Versioned[Role]:
        """One that the caller sees. Raises role_not_found."""
        built_in = self._built_in().get(role_id)
        if built_in is not None:
            return built_in
        async with self.db.read() as read:
            return self._seen(await self._one(read, role_id), actor)

    async def update(
        self, key: RequestKey, actor: Actor, role_id: str, changes: dict[str, object], etag: str
    ) -> Versioned[Role]:
        """Change or disable one of the caller's organisations. Raises as create does, and role_not_found."""
        async with self.audit.trying(actor, "UpdateRole", role_id) as now, self.db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                if role_id in self._built_in():
                    raise refusals.role_built_in(role_id)
                old = await self.store.roles.locked(tx, role_id)
                if old is None:
                    raise refusals.role_not_found(role_id)
                actor.reaches(self._seen(old, actor).value.owner_org_id)
                if etag and etag != str(old.version):
                    raise refusals.etag_changed(str(old.version))
                new = dataclasses.replace(old.value, **changes)  # type: ignore[arg-type]
                self.catalogue.check(new)
                actor.holds({*new.permissions} ^ {*old.value.permissions})
                await self.store.roles.change(tx, new, now)
                await self._tell(tx, new)
                await self.audit.done(tx, actor, "UpdateRole", role_id, now, **changes)
                await idempotency.answer(tx, key, {})
            made = await self._one(tx, role_id)
            await tx.commit()
            return made

    async def page(self, actor: Actor, after: Sequence[str], size: int) -> list[Versioned[Role]]:
        """The platform's own roles and those that the caller sees, by id."""
        last = after[0] if after else ""
        async with self.db.read() as read:
            made = [*await self._made(read)]
        found = [each for each in [*self._built_in().values(), *made] if each.value.role_id > last]
        seen = [each for each in found if visible(each.value, self._above(actor), actor.domain)]
        return sorted(seen, key=lambda each: each.value.role_id)[:size]

    def permissions_page(self, after: Sequence[str], size: int, service: str) -> list[Permission]:
        """Permissions by name."""
        last = after[0] if after else ""
        names = sorted(name for name in self.catalogue.permissions if name > last)
        wanted = [name for name in names if not service or name.startswith(f"{service}.")]
        return [self.catalogue.permissions[name] for name in wanted[:size]]

    async def permissions(self, read: Read, actor: Actor, role_id: str) -> frozenset[str]:
        """What a role that the caller sees allows. Raises role_not_found."""
        built_in = self.catalogue.built_in().get(role_id)
        if built_in is not None:
            return built_in
        return frozenset(self._seen(await self._one(read, role_id), actor).value.permissions)

    async def held(self, read: Read, roles: Collection[str]) -> frozenset[str]:
        """What these roles allow together."""
        made = {each.value.role_id: each.value.permissions for each in await self._made(read)}
        return held(roles, {**made, **self.catalogue.built_in()})

    async def _made(self, read: Read) -> list[Versioned[Role]]:
        return await self.store.roles.page(read, (), 100_000)

    async def _one(self, read: Read, role_id: str) -> Versioned[Role]:
        found = await self.store.roles.get(read, role_id)
        if found is None:
            raise refusals.role_not_found(role_id)
        return found

    def _seen(self, found: Versioned[Role], actor: Actor) -> Versioned[Role]:
        if not visible(found.value, self._above(actor), actor.domain):
            raise refusals.role_not_found(found.value.role_id)
        return found

    def _above(self, actor: Actor) -> set[str]:
        parents, above, org_id = self.known.directory.parents, set[str](), actor.org_id
        while org_id and org_id not in above:
            above.add(org_id)
            org_id = parents.get(org_id, "")
        return above

    def _built_in(self) -> dict[str, Versioned[Role]]:
        return {
            name: Versioned(Role(name, name, tuple(sorted(permissions)), ""), 0, EPOCH)
            for name, permissions in self.catalogue.built_in().items()
        }

    async def _tell(self, tx: Write, new: Role) -> None:
        body = {"role_id": new.role_id, "permissions": [] if new.disabled else list(new.permissions)}
        await outbox.put(tx, KIND, new.role_id, body)
