"""Caller: who calls, by a signed token, and whether he may.

A token is a JWT (RS256 or ES256) with iss, aud, sub, exp, and optionally roles (a list) and org. Its verification costs
about 100 µs and is kept until it runs out, so a call with a known token costs about 1 µs; revoking is by short life or
by taking the key out of the file, which is read again when it changes.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from services.kit.errors import not_allowed, stranger
from services.kit.files import Watched
from services.kit.interceptors.call import Call, Caller

Rights = Mapping[str, frozenset[str]]
"""Method name → the roles that may call it. A method without an entry is open to nobody."""

_ALGORITHMS = ["RS256", "ES256"]
_MOST_TOKENS = 10_000
_MOST_CHARACTERS = 8192

# Probes come without a token. Reflection tells the shape of the contract, which is no secret among those who belong
# here, so it asks for a valid token and for no role.
_OPEN = ("/grpc.health.v1.Health/",)
_ANY_ROLE = ("/grpc.reflection.v1alpha.ServerReflection/", "/grpc.reflection.v1.ServerReflection/")

_log = structlog.get_logger(__name__)


class Verifier:
    """Turns a token into a Caller, or refuses it as a stranger's."""

    def __init__(self, keys: Path, issuer: str, audience: str, *, now: Callable[[], float] = time.time) -> None:
        self._keys = Watched(keys, lambda content: KeySet.import_key_set(json.loads(content)))
        self._claims = jwt.JWTClaimsRegistry(
            now=lambda: int(now()),
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            sub={"essential": True},
            exp={"essential": True},
        )
        self._now = now
        self._known: dict[str, tuple[Caller, float]] = {}
        self._keys_then: KeySet | None = None

    def verify(self, token: str) -> Caller:
        """The caller that the token speaks of. Raises stranger."""
        keys = self._keys.value()
        if keys is not self._keys_then or len(self._known) >= _MOST_TOKENS:
            self._known.clear()
            self._keys_then = keys
        known = self._known.get(token)
        if known is None:
            known = self._known[token] = self._verify(token, keys)
        if known[1] <= self._now():
            del self._known[token]
            raise stranger("the token has run out")
        return known[0]

    def _verify(self, token: str, keys: KeySet) -> tuple[Caller, float]:
        if len(token) > _MOST_CHARACTERS:
            raise stranger("the token is too long")
        try:
            claims = jwt.decode(token, keys, algorithms=_ALGORITHMS).claims
            self._claims.validate(claims)
            roles = claims.get("roles", [])
            if not isinstance(roles, list) or not claims["sub"]:
                raise ValueError("roles is a list and sub is not empty")
            caller = Caller(claims["sub"], frozenset(map(str, roles)), str(claims.get("org", "")))
            return caller, float(claims["exp"])
        except (JoseError, ValueError, TypeError, KeyError) as error:
            _log.info("token_refused", error=type(error).__name__)
            raise stranger("the token is not valid") from error


def check(call: Call, rights: Rights, verifier: Verifier) -> None:
    """Learn who calls and refuse who may not. Raises stranger, not_allowed."""
    method = call.method
    if method.path.startswith(_OPEN):
        return
    scheme, _, token = call.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise stranger("no bearer token")
    call.who = verifier.verify(token)
    if method.path.startswith(_ANY_ROLE):
        return
    if call.who.roles.isdisjoint(rights.get(method.name, frozenset())):
        raise not_allowed(method.name, call.who.roles)
