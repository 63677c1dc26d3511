"""The embedded issuer: tokens for secrets, and the keys that verify them (RFC 7519, RFC 7517)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from joserfc import jwt
from joserfc.jwk import KeySet

from services.admin import refusals
from services.admin.domain import secret
from services.admin.store import Store
from services.kit.clock import Clock
from services.kit.db import Database

_TRIES = 10
_CLOSED = timedelta(minutes=1)


@dataclass(frozen=True)
class Tokens:
    """Issues tokens. `keys` gives the private keys; the first one signs, the others are still believed."""

    db: Database
    clock: Clock
    store: Store
    keys: Callable[[], KeySet]
    issuer: str
    audience: str
    life: timedelta

    async def issue(self, principal_id: str, given: str) -> tuple[str, datetime]:
        """A token and when it runs out. Raises secret_wrong, too_many_tries."""
        now = self.clock()
        async with self.db.begin() as tx:
            found = await self.store.holdings.secret(tx, principal_id)
            kept, wrong, closed_until = found or ("", 0, None)
            if closed_until is not None and now < closed_until:
                raise refusals.too_many_tries(int((closed_until - now).total_seconds()) + 1)
            fits = await asyncio.to_thread(secret.fits, given, kept)  # takes as long for a name that is not known
            record = await self.store.principals.get(tx, principal_id)
            if fits and record is not None and not record.value.disabled:
                await self.store.holdings.tried(tx, principal_id, 0, None)
                roles = (await self.store.holdings.roles(tx, [principal_id])).get(principal_id, [])
                await tx.commit()
                return self._signed(principal_id, record.value.org_id, roles, now)
            closes = (wrong + 1) % _TRIES == 0
            await self.store.holdings.tried(tx, principal_id, wrong + 1, now + _CLOSED if closes else None)
            await tx.commit()
        raise refusals.secret_wrong()

    def jwks(self) -> dict[str, list[dict[str, object]]]:
        """The public keys."""
        return {"keys": [dict(key.as_dict(private=False)) for key in self.keys().keys]}

    def _signed(self, principal_id: str, org_id: str, roles: list[str], now: datetime) -> tuple[str, datetime]:
        key = self.keys().keys[0]
        expires = now + self.life
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": principal_id,
            "iat": int(now.timestamp()),
            "exp": int(expires.timestamp()),
            "roles": roles,
            "org": org_id,
        }
        return jwt.encode({"alg": key.alg or "ES256", "kid": key.kid}, claims, key), expires
