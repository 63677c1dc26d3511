"""Principals, their secrets and their grants."""

import asyncio
import dataclasses
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from services.admin import refusals
from services.admin.domain import secret
from services.admin.domain.grant import Actor
from services.admin.domain.principal import Grant, Principal
from services.admin.store import Store, Versioned
from services.admin.usecases.auditing import Audit
from services.admin.usecases.roles import Roles
from services.kit import idempotency, outbox
from services.kit.clock import Clock
from services.kit.db import Database, Read, Write
from services.kit.errors import request_id_reused
from services.kit.idempotency import RequestKey
from services.kit.logs import mask

KIND = "principal"


@dataclass(frozen=True)
class Shown:
    """A principal with what is granted to him."""

    record: Versioned[Principal]
    roles: Sequence[str]
    has_secret: bool


@dataclass(frozen=True)
class Principals:
    """Who calls, and what was granted to him."""

    db: Database
    clock: Clock
    store: Store
    audit: Audit
    roles: Roles

    async def create(self, key: RequestKey, actor: Actor, new: Principal) -> Shown:
        """Add one in the caller's domain. Raises principal_exists, outside_domain, organisation_not_found."""
        async with self.audit.trying(actor, "CreatePrincipal", new.principal_id) as now, self.db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                await self._placed(tx, actor, new.org_id)
                if not await self.store.principals.add(tx, new, now):
                    raise refusals.principal_exists(new.principal_id)
                await self._tell(tx, new.principal_id)
                await self.audit.done(tx, actor, "CreatePrincipal", new.principal_id, now, org_id=new.org_id)
                await idempotency.answer(tx, key, {})
            made = await self._shown(tx, new.principal_id)
            await tx.commit()
            return made

    async def get(self, principal_id: str) -> Shown:
        """One that the caller sees. Raises principal_not_found."""
        async with self.db.read() as read:
            return await self._shown(read, principal_id)

    async def update(
        self, key: RequestKey, actor: Actor, principal_id: str, changes: dict[str, object], etag: str
    ) -> Shown:
        """Change or disable one. Raises principal_not_found, outside_domain, etag_changed."""
        async with self.audit.trying(actor, "UpdatePrincipal", principal_id) as now, self.db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                old = await self._locked(tx, actor, principal_id)
                if etag and etag != str(old.version):
                    raise refusals.etag_changed(str(old.version))
                if "display_name" in changes:
                    changes = changes | {"display_name": old.value.renamed(str(changes["display_name"]))}
                new = dataclasses.replace(old.value, **changes)  # type: ignore[arg-type]
                if new.org_id != old.value.org_id:
                    await self._placed(tx, actor, new.org_id)
                    actor.holds(await self._permissions(tx, principal_id))  # what he holds now reaches elsewhere
                await self.store.principals.change(tx, new, now)
                await self._tell(tx, principal_id)
                told = {name: new.shown_name if name == "display_name" else value for name, value in changes.items()}
                await self.audit.done(tx, actor, "UpdatePrincipal", principal_id, now, **told)
                await idempotency.answer(tx, key, {})
            made = await self._shown(tx, principal_id)
            await tx.commit()
            return made

    async def page(self, after: Sequence[str], size: int, org_id: str) -> list[Shown]:
        """Those that the caller sees, by id."""
        async with self.db.read() as read:
            where = {"org_id": org_id} if org_id else {}
            found = await self.store.principals.page(read, after, size, where)
            return await self._with_grants(read, found)

    async def reveal(self, actor: Actor, principal_ids: Sequence[str], purpose: str) -> list[Principal]:
        """Those of them that the caller sees, by id, to be told in clear; written down before they are."""
        async with self.db.read() as read:
            found = await self.store.principals.among(read, principal_ids)
        for each in found:
            async with self.audit.trying(actor, "RevealPrincipals", each.principal_id) as now, self.db.begin() as tx:
                await self.audit.done(tx, actor, "RevealPrincipals", each.principal_id, now, purpose=mask(purpose))
                await tx.commit()
        return found

    async def create_secret(self, key: RequestKey, actor: Actor, principal_id: str) -> str:
        """A new secret. Whoever makes it could use it, so he must hold all that the principal holds.

        Raises principal_not_found, not_held, and request_id_reused when the call is repeated: it is shown once.
        """
        made = secret.text(secrets.token_bytes(secret.BYTES))
        kept = await asyncio.to_thread(secret.kept, made, secrets.token_bytes(16))
        async with self.audit.trying(actor, "CreateSecret", principal_id) as now, self.db.begin() as tx:
            if await idempotency.remember(tx, key) is not None:
                raise request_id_reused(key.request_id)
            await self._locked(tx, actor, principal_id)
            actor.holds(await self._permissions(tx, principal_id))
            await self.store.holdings.keep_secret(tx, principal_id, kept)
            await self.audit.done(tx, actor, "CreateSecret", principal_id, now)
            await idempotency.answer(tx, key, {})
            await tx.commit()
        return made

    async def grant(self, key: RequestKey, actor: Actor, principal_id: str, role_id: str) -> Grant:
        """Give a role. Raises principal_not_found, role_not_found, not_held."""
        target = f"{principal_id}/{role_id}"
        async with self.audit.trying(actor, "CreateGrant", target) as now, self.db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                await self._locked(tx, actor, principal_id)
                actor.holds(await self.roles.permissions(tx, actor, role_id))
                new = Grant(principal_id, role_id, actor.subject, now)
                if await self.store.holdings.grant(tx, new):
                    await self._tell(tx, principal_id)
                await self.audit.done(tx, actor, "CreateGrant", target, now)
                await idempotency.answer(tx, key, {})
            granted = await self.store.holdings.granted(tx, principal_id, role_id)
            if granted is None:  # repeated after it was taken again
                raise refusals.grant_not_found(principal_id, role_id)
            await tx.commit()
            return granted

    async def withdraw(self, key: RequestKey, actor: Actor, principal_id: str, role_id: str) -> None:
        """Take a role. Raises principal_not_found, not_held, grant_not_found."""
        target = f"{principal_id}/{role_id}"
        async with self.audit.trying(actor, "DeleteGrant", target) as now, self.db.begin() as tx:
            if await idempotency.remember(tx, key) is None:
                await self._locked(tx, actor, principal_id)
                actor.holds(await self.roles.permissions(tx, actor, role_id))
                if not await self.store.holdings.withdraw(tx, principal_id, role_id):
                    raise refusals.grant_not_found(principal_id, role_id)
                await self._tell(tx, principal_id)
                await self.audit.done(tx, actor, "DeleteGrant", target, now)
                await idempotency.answer(tx, key, {})
            await tx.commit()

    async def grants(self, after: Sequence[str], size: int, principal_id: str) -> list[Grant]:
        """Grants to those that the caller sees."""
        async with self.db.read() as read:
            return await self.store.holdings.grants(read, after, size, principal_id)

    async def _placed(self, tx: Write, actor: Actor, org_id: str) -> None:
        actor.reaches(org_id)
        if org_id and await self.store.organisations.get(tx, org_id) is None:
            raise refusals.organisation_not_found(org_id)

    async def _locked(self, tx: Write, actor: Actor, principal_id: str) -> Versioned[Principal]:
        """The principal, when he is in the caller's domain; another one does not exist for the caller."""
        found = await self.store.principals.locked(tx, principal_id)
        if found is None or (actor.domain is not None and found.value.org_id not in actor.domain):
            raise refusals.principal_not_found(principal_id)
        return found

    async def _permissions(self, read: Read, principal_id: str) -> frozenset[str]:
        roles = (await self.store.holdings.roles(read, [principal_id])).get(principal_id, [])
        return await self.roles.held(read, roles)

    async def _shown(self, read: Read, principal_id: str) -> Shown:
        found = await self.store.principals.get(read, principal_id)
        if found is None:
            raise refusals.principal_not_found(principal_id)
        return (await self._with_grants(read, [found]))[0]

    async def _with_grants(self, read: Read, found: Sequence[Versioned[Principal]]) -> list[Shown]:
        ids = [each.value.principal_id for each in found]
        held = await self.store.holdings.roles(read, ids)
        secret_holders = await self.store.holdings.with_secret(read, ids)
        return [
            Shown(each, held.get(each.value.principal_id, []), each.value.principal_id in secret_holders)
            for each in found
        ]

    async def _tell(self, tx: Write, principal_id: str) -> None:
        shown = await self._shown(tx, principal_id)
        body = dataclasses.asdict(shown.record.value) | {"roles": list(shown.roles)}
        await outbox.put(tx, KIND, principal_id, body)
