"""Domains (分域): the organisations whose rows a caller may see, and how Postgres comes to know of it.

A token names the caller's organisation; the directory, a projection of admin's, says what lies below it. Whoever
belongs to the whole ("") sees every row; anyone else sees the rows whose org_id is his organisation or one below.

    domains.current()                 what the RPC in hand may see: a frozenset of org_ids, or None for everything
    with domains.whole(): …           work done for several callers at once (a group commit), or for none
    caller().sees(org_id)             the explicit predicate of a hot read, which opens no transaction

Database.begin() and .read() of a limited caller take on the role lc_<service>_scoped, under which the policies that
migrate.py puts on every table with an org_id hold. Work without a caller is the service's own and sees everything.
"""

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

_current: ContextVar[frozenset[str] | None] = ContextVar("domain", default=None)

SETTING = "lifecircle.orgs"
"""The variable of a Postgres transaction that holds the domain: org_ids as a Postgres array."""


def current() -> frozenset[str] | None:
    """The organisations the work in hand may see; None for all of them."""
    return _current.get()


def enter(domain: frozenset[str] | None) -> None:
    """From here on this task works for a caller of this domain."""
    _current.set(domain)


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """Work that is not one caller's: in this block every row is seen, also when a limited caller's RPC began it."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


@dataclass(frozen=True)
class Principal:
    """A user or a service account as admin knows him."""

    org_id: str
    roles: frozenset[str]
    disabled: bool = False


@dataclass(frozen=True)
class Directory:
    """Who there is and what he may do: the projection of admin's organisations, roles and principals.

    `parents` maps an org_id to the one above ("" at the top), `roles` a role to its permissions ("points.ScoreEvent"),
    `principals` a token's subject to what is known of him. Organisations that are not known stand alone.
    """

    parents: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, frozenset[str]] = field(default_factory=dict)
    principals: Mapping[str, Principal] = field(default_factory=dict)
    _below: dict[str, frozenset[str]] = field(default_factory=dict, compare=False, repr=False)

    def domain(self, org_id: str) -> frozenset[str] | None:
        """The organisation and all below it; None, that is everything, for the whole ("")."""
        if not org_id:
            return None
        if org_id not in self._below:
            self._below[org_id] = self._closure(org_id)
        return self._below[org_id]

    def permits(self, roles: frozenset[str], permission: str) -> bool:
        """Whether one of the roles, as admin defines them, holds the permission `service.Method`."""
        return any(permission in self.roles.get(role, ()) for role in roles)

    def _closure(self, org_id: str) -> frozenset[str]:
        children: dict[str, list[str]] = {}
        for child, parent in self.parents.items():
            children.setdefault(parent, []).append(child)
        found, waiting = {org_id}, [org_id]
        while waiting:
            for child in children.get(waiting.pop(), ()):
                if child not in found:  # a ring in the tree is admin's to refuse; here it must only end
                    found.add(child)
                    waiting.append(child)
        return frozenset(found)


@dataclass
class Known:
    """The directory as a process knows it now; replaced as a whole when admin tells of a change."""

    directory: Directory = field(default_factory=Directory)
