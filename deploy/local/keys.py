"""The keys and tokens of one machine: made here, at the first `up`; nothing is ever the same on two machines.

keys/signing.json    the private key that tokens are signed with; of the services only admin, the issuer, reads it
keys/jwks.json       its public half (JWKS): what every service verifies tokens with
keys/vault.json      ingest's keys over the telephone numbers
keys/passwords.json  one password per service's login role
tokens/<who>.jwt     one token per service and per person of the demo; valid 30 days, renewed by `up`
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from deploy.local import private

ISSUER = "lifecircle-local"
AUDIENCE = "lifecircle"
LIFE = 30 * 86_400  # seconds a token is valid
_RENEW = 10 * 86_400  # seconds before its end at which `up` writes a new one
_ALGORITHM = "ES256"

SERVICES = ("ingest", "points", "portrait", "recommend", "contact", "admin")

# Who exists on one machine, and what each may do. `staff` tokens name an employee, so they are minted when needed.
ROLES: dict[str, tuple[str, ...]] = {
    "ingest": ("service",),
    "points": ("service",),
    "portrait": ("service",),
    "recommend": ("service",),
    "contact": ("service", "privacy"),  # it alone reveals numbers, into the hand-over file
    "admin": ("service",),
    # The first administrator: whoever gives must hold, so he holds everything that people can be given.
    "administrator": ("administrator", "auditor", "operator", "viewer", "privacy", "staff", "partner"),
    "operator": ("operator", "viewer"),
    "viewer": ("viewer",),
    "demo": ("operator", "privacy"),
}


class KeysLost(Exception):
    """A key that nothing can replace is missing."""


@dataclass(frozen=True)
class Keys:
    """The keys below one state folder; see the table above for the files."""

    state: Path

    @property
    def jwks(self) -> Path:
        """The public keys, as every service reads them (JWT_KEYS)."""
        return self.state / "keys" / "jwks.json"

    @property
    def vault(self) -> Path:
        """Ingest's keys over the telephone numbers (VAULT_KEYS)."""
        return self.state / "keys" / "vault.json"

    @property
    def signing(self) -> Path:
        """The private key of the embedded issuer, as admin reads it (SIGNING_KEYS)."""
        return self.state / "keys" / "signing.json"

    def token(self, who: str) -> Path:
        """The file with the token of `who`."""
        return self.state / "tokens" / f"{who}.jwt"

    def tokens(self) -> dict[str, Path]:
        """Every token file, by whose it is."""
        return {who: self.token(who) for who in ROLES}

    def prepare(self, *, now: float | None = None) -> list[str]:
        """Makes what is missing and renews tokens that end within 10 days; gives the names of what it wrote.

        `now` is in seconds since 1970. What is there stays: the vault's keys above all, without which no stored number
        can be read again; raises KeysLost when they are gone.
        """
        moment = time.time() if now is None else now
        written: list[str] = []
        if not self.vault.exists():
            # The signing key is written last, so where it stands without the vault's, that file was lost, not late.
            if self.signing.exists():
                raise KeysLost(f"{self.vault} is gone: numbers stored under it cannot be read without it; put it back")
            vault = {"version": 1, "token_key": secrets.token_hex(32), "vault_key": secrets.token_hex(32)}
            private.write(self.vault, json.dumps(vault))
            written.append("vault keys")
        if not self.signing.exists():
            key = ECKey.generate_key("P-256", {"use": "sig", "alg": _ALGORITHM}, auto_kid=True)
            private.write(self.signing, json.dumps(key.as_dict(private=True)))
            written.append("signing key")
        key = self._key()
        published = json.dumps({"keys": [key.as_dict(private=False)]})
        if not self.jwks.exists() or self.jwks.read_text() != published:
            private.write(self.jwks, published)
        self._passwords()
        for who, roles in ROLES.items():
            if not self._lasts(self.token(who), key, moment):
                private.write(self.token(who), self.mint(who, roles, now=moment))
                written.append(f"token of {who}")
        return written

    def mint(
        self, subject: str, roles: Iterable[str], *, org: str = "", life: float = LIFE, now: float | None = None
    ) -> str:
        """Signs a token for `subject` with `roles` and the organisation `org` ("": the whole), valid `life` seconds."""
        moment = int(time.time() if now is None else now)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": moment,
            "exp": moment + int(life),
            "roles": list(roles),
            "org": org,
        }
        key = self._key()
        return jwt.encode({"alg": _ALGORITHM, "kid": key.kid}, claims, key)

    def password(self, service: str) -> str:
        """Gives the password of a service's login role."""
        return self._passwords()[service]

    def _passwords(self) -> dict[str, str]:
        keeper = self.state / "keys" / "passwords.json"
        kept: dict[str, str] = json.loads(keeper.read_text()) if keeper.exists() else {}
        missing = {service: secrets.token_urlsafe(24) for service in SERVICES if service not in kept}
        if missing:
            private.write(keeper, json.dumps({**kept, **missing}))
        return {**kept, **missing}

    def _key(self) -> ECKey:
        return ECKey.import_key(json.loads(self.signing.read_text()))

    def _lasts(self, path: Path, key: ECKey, now: float) -> bool:
        """Says whether a token file holds a token of ours that is not near its end."""
        if not path.exists():
            return False
        try:
            claims = jwt.decode(path.read_text().strip(), key, algorithms=[_ALGORITHM]).claims
        except (JoseError, ValueError):
            return False  # signed by a key that is gone, or not a token at all
        return float(claims["exp"]) - now > _RENEW and claims["roles"] == list(ROLES[path.stem])
