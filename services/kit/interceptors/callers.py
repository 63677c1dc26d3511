"""Caller: who calls, by a signed token, and whether he may.

A token is a JWT (RS256 or ES256) with iss, aud, sub, exp, and optionally roles (a list) and org. Its verification costs
about 100 µs and is kept until it runs out, so a call with a known token costs about 1 µs; revoking is by short life or
by taking the key out of the file, which is read again when it changes. A directory that changes is in force at once.

Two issuers may be believed at once: our own (admin, or `make up`), whose tokens carry the roles, and the operator's
OIDC issuer, whose tokens carry none: what such a subject may do is what admin's directory says of him.
"""

import base64
import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from services.kit import domains
from services.kit.domains import Directory, Known
from services.kit.errors import not_allowed, stranger
from services.kit.interceptors.call import Call, Caller, Method

Rights = Mapping[str, frozenset[str]]
"""Method name → the roles that may call it. A method without an entry is open to nobody."""

ANYBODY = frozenset({"*"})
"""The right of a method that needs no token, since it is how one comes by a token. It must refuse strangers itself."""

OIDC = "oidc:"
"""Subjects of the operator's issuer begin with it, so that they are never taken for ours."""

_ALGORITHMS = ["RS256", "ES256"]
_MOST_TOKENS = 10_000
_MOST_CHARACTERS = 8192

# For how long a caller is let in again without a look at keys and rights. It comes on top of the second after which a
# change of the keys is seen.
_MOMENT_SECONDS = 0.1

# Probes come without a token. Reflection tells the shape of the contract, which is no secret among those who belong
# here, so it asks for a valid token and for no role.
_OPEN = ("/grpc.health.v1.Health/",)
_ANY_ROLE = ("/grpc.reflection.v1alpha.ServerReflection/", "/grpc.reflection.v1.ServerReflection/")

_log = structlog.get_logger(__name__)


class Verifier:
    """Turns a token into a Caller, or refuses it as a stranger's.

    `keys` gives the JWKS of our own issuer; `oidc`, when given, is the operator's: its keys, issuer and audience.
    """

    def __init__(
        self,
        keys: Callable[[], KeySet],
        issuer: str,
        audience: str,
        *,
        oidc: "Issuer | None" = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._ours = Issuer(keys, issuer, audience)
        self._oidc = oidc
        self._now = now
        self._known: dict[str, tuple[Caller, float]] = {}
        self._keys: tuple[KeySet | None, KeySet | None] = (None, None)

    def verify(self, token: str) -> tuple[Caller, float]:
        """The caller that the token speaks of, and for how many seconds it is good. Raises stranger."""
        ours, theirs = self._keys
        keys = (self._ours.keys(), None if self._oidc is None else self._oidc.keys())
        if keys[0] is not ours or keys[1] is not theirs or len(self._known) >= _MOST_TOKENS:
            self._known.clear()
            self._keys = keys
        known = self._known.get(token)
        if known is None:
            known = self._known[token] = self._verify(token)
        who, runs_out = known
        left = runs_out - self._now()
        if left <= 0:
            del self._known[token]
            raise stranger("the token has run out")
        return who, left

    def _verify(self, token: str) -> tuple[Caller, float]:
        if len(token) > _MOST_CHARACTERS:
            raise stranger("the token is too long")
        try:
            if self._oidc is not None and _told(token, "iss") == self._oidc.name:
                claims = self._oidc.claims(token, self._now)
                # What the operator's issuer calls a role is not what we call one: the directory says who he is here.
                return Caller(f"{OIDC}{claims['sub']}", frozenset(), "", frozenset()), float(claims["exp"])
            claims = self._ours.claims(token, self._now)
            roles, org, subject = claims.get("roles", []), claims["org"], claims["sub"]
            if not isinstance(roles, list) or not isinstance(org, str) or subject.startswith(OIDC):
                raise ValueError("roles is a list, org a text, and the subject not one of the operator's issuer")
            return Caller(subject, frozenset(map(str, roles)), org), float(claims["exp"])
        except (JoseError, ValueError, TypeError, KeyError) as error:
            _log.info("token_refused", error=type(error).__name__)
            raise stranger("the token is not valid") from error


@dataclasses.dataclass(frozen=True)
class Issuer:
    """Whose tokens are believed: his keys, his name (`iss`), and whom he must name as audience."""

    keys: Callable[[], KeySet]
    name: str
    audience: str

    def claims(self, token: str, now: Callable[[], float]) -> dict[str, Any]:
        """The claims of a token of this issuer. Raises JoseError and ValueError."""
        claims = jwt.decode(token, self.keys(), algorithms=_ALGORITHMS).claims
        jwt.JWTClaimsRegistry(
            now=lambda: int(now()),
            iss={"essential": True, "value": self.name},
            aud={"essential": True, "value": self.audience},
            sub={"essential": True},
            exp={"essential": True},
        ).validate(claims)
        if not claims["sub"]:
            raise ValueError("sub is not empty")
        return claims


def _told(token: str, claim: str) -> object:
    """What an unverified token says: only to choose whose keys to verify it with."""
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))).get(claim)


class Admitted(NamedTuple):
    """Whom the door has let in, and what his work is limited to; until when (time.monotonic() seconds), by whom."""

    who: Caller
    domain: frozenset[str] | None
    until: float
    directory: Directory


class Door:
    """Lets in who may call a method. What it found of a token and a method holds for a moment."""

    def __init__(self, service: str, rights: Rights, verifier: Verifier, known: Known) -> None:
        self._service = service
        self._rights = rights
        self._verifier = verifier
        self._known = known
        self._admitted: dict[tuple[str, str], Admitted] = {}

    def check(self, call: Call) -> None:
        """Learn who calls and refuse who may not. Raises stranger, not_allowed."""
        shown = call.headers.get("authorization", "")
        found = self._admitted.get((call.method.path, shown))
        if found is None or found.until < time.monotonic() or found.directory is not self._known.directory:
            found = self._admit(call.method, shown)
        call.who = found.who
        if found.domain is not None:
            domains.enter(found.domain)

    def _admit(self, method: Method, shown: str) -> Admitted:
        directory = self._known.directory
        who, seconds = self._look(method, shown, directory)
        domain = who.domain if who.subject else None  # what is open to strangers is the service's own work
        found = Admitted(who, domain, time.monotonic() + min(seconds, _MOMENT_SECONDS), directory)
        if len(self._admitted) >= _MOST_TOKENS:
            self._admitted.clear()
        self._admitted[method.path, shown] = found
        return found

    def _look(self, method: Method, shown: str, directory: Directory) -> tuple[Caller, float]:
        """Who shows that header, and for how many seconds his token is good."""
        allowed = self._rights.get(method.name, frozenset())
        if method.path.startswith(_OPEN) or allowed is ANYBODY:
            return Caller("", frozenset(), "", frozenset()), math.inf
        scheme, _, token = shown.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise stranger("no bearer token")
        caller, seconds = self._verifier.verify(token)
        who = placed(caller, directory)
        permission = f"{self._service}.{method.name}"
        if (
            who.roles.isdisjoint(allowed)
            and not method.path.startswith(_ANY_ROLE)
            and not directory.permits(who.roles, permission)
        ):
            raise not_allowed(method.name, who.roles)
        return who, seconds


def placed(caller: Caller, directory: Directory) -> Caller:
    """The caller with his domain, and as the directory knows him where it does. Raises stranger when he is disabled."""
    principal = directory.principals.get(caller.subject)
    if principal is None:
        if not caller.org or caller.domain is not None:
            return caller
        return _placed(caller, caller.org, caller.roles, directory)
    if principal.disabled:
        raise stranger("the caller is disabled")
    return _placed(caller, principal.org_id, caller.roles | principal.roles, directory)


def _placed(caller: Caller, org_id: str, roles: frozenset[str], directory: Directory) -> Caller:
    return Caller(caller.subject, roles, org_id, directory.domain(org_id))
