"""Decentralised rights (分权): who gives, gives within his own organisation and only what he holds himself."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from services.admin import refusals


@dataclass(frozen=True)
class Actor:
    """Who acts: his organisations (None: all) and everything he may do."""

    subject: str
    org_id: str
    domain: frozenset[str] | None
    permissions: frozenset[str]

    def reaches(self, org_id: str) -> None:
        """Raises outside_domain unless the organisation is his own or below it."""
        if self.domain is not None and org_id not in self.domain:
            raise refusals.outside_domain(org_id)

    def holds(self, permissions: Collection[str]) -> None:
        """Raises not_held unless he may do all of that himself."""
        missing = frozenset(permissions) - self.permissions
        if missing:
            raise refusals.not_held(missing)


def held(roles: Collection[str], known: Mapping[str, Collection[str]]) -> frozenset[str]:
    """Everything that these roles allow; a role that is not known allows nothing."""
    return frozenset(permission for role in roles for permission in known.get(role, ()))
